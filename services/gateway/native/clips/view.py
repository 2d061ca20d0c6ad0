"""A clip as its client sees it."""

from __future__ import annotations

from fractions import Fraction

from services.gateway.delivery.downloads import Downloads
from services.gateway.domain.clips.clips import KnownClip
from services.gateway.native.clips.images import image_views
from services.gateway.native.clips.models import AskedRange, MadeRange, MissingRange, VodView
from shared.messages.clips import ClipCreate, ClipFile, ClipRecord


def shown_seconds(value: Fraction) -> float:
    """Return seconds rounded to the nanosecond, for JSON only."""
    return float(round(value, 9))


def _made(file: ClipFile) -> MadeRange:
    return MadeRange(
        in_point=shown_seconds(file.in_point),
        out_point=shown_seconds(file.out_point),
        duration=shown_seconds(file.duration),
        frames=file.frames,
        exact_in_point=str(file.in_point),
        exact_out_point=str(file.out_point),
        in_timecode=file.in_timecode,
        out_timecode=file.out_timecode,
    )


def _asked(request: ClipCreate) -> AskedRange:
    return AskedRange(
        clock=request.selection.clock,
        start=shown_seconds(request.selection.start),
        end=shown_seconds(request.selection.end),
        duration=shown_seconds(request.asked_duration),
    )


def _missing(record: ClipRecord | None) -> list[MissingRange]:
    return [
        MissingRange(start=shown_seconds(gap.start), duration=shown_seconds(gap.duration), track=gap.track)
        for gap in (record.gaps if record else ())
    ]


def view(downloads: Downloads, known: KnownClip) -> VodView:
    """Return a clip's view, from its record or, before there is one, from the command."""
    request, record = known.request, known.record
    file = record.file if record else None
    playlist = downloads.playlist_url(request.account, request.clip)
    media = downloads.url(request.clip) if file else None
    first = record.deliveries[0] if record and record.deliveries else None
    return VodView(
        jvod_id=request.clip,
        job_id=request.event,
        label=request.label,
        user_id=request.account,
        jvod_state=known.state,
        jvod_type="instant" if request.instant else "library",
        jvod_url=playlist if request.instant else media,
        playlist_url=playlist,
        signed_url=downloads.signed_url(request.account, request.clip) if file else None,
        jvod_created_at=known.created_ms,
        jvod_last_state_change_at=known.changed_ms,
        jvod_finished_at=record.finished_ms if record else None,
        jvod_duration_s=shown_seconds(request.asked_duration),
        jvod_reported_duration_s=shown_seconds(file.duration) if file else None,
        accuracy=file.accuracy if file else None,
        method=file.method if file else None,
        method_reason=file.reason if file else "",
        asked=_asked(request),
        made=_made(file) if file else None,
        gaps=_missing(record),
        images=image_views(downloads, known),
        bytes=file.bytes if file else None,
        sha256=file.sha256 if file else None,
        delivered=first.accuracy if first else None,
        location=first.location if first else "",
        wait=request.wait,
        error=record.error if record else "",
    )
