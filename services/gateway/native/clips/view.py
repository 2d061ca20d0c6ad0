"""A clip as its client sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, Literal

from services.gateway.delivery.downloads import Downloads
from services.gateway.domain.clips.clips import KnownClip
from services.gateway.domain.clips.points import gap_start, points_of
from services.gateway.domain.clips.progress import percent_of
from services.gateway.native.clips.edits import edit_view
from services.gateway.native.clips.encryption_models import EncryptionView
from services.gateway.native.clips.images import image_views
from services.gateway.native.clips.models import (
    AskedRange,
    DestinationView,
    MadeRange,
    MissingRange,
    RangeView,
    VodView,
)
from shared.messages.clips import ClipCreate, ClipDelivery, ClipFile, ClipRecord
from shared.messages.destinations import DestinationType
from shared.messages.ranges import MadeRange as Made
from shared.messages.ranges import ReelRange

_OF_DELIVERIES: Final = {"state", "accuracy", "location", "error"}
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


def shown_seconds(value: Fraction) -> float:
    """Return seconds rounded to the nanosecond, for JSON only."""
    return float(round(value, 9))


def _asked(request: ClipCreate | ReelRange) -> AskedRange | None:
    later = request.after_live if isinstance(request, ClipCreate) else None
    if later is not None and later.clock not in {"stream", "wall"}:
        return None
    zero = request.zero if request.selection.clock == "stream" else 0
    return AskedRange(
        clock=request.selection.clock,
        start=shown_seconds(request.selection.start - zero),
        end=shown_seconds(request.selection.end - zero),
        duration=shown_seconds(request.asked_duration),
    )


def _made(file: ClipFile | Made, start: Fraction, end: Fraction) -> MadeRange:
    return MadeRange(
        in_point=shown_seconds(start),
        out_point=shown_seconds(end),
        duration=shown_seconds(file.duration),
        frames=file.frames,
        exact_in_point=str(start),
        exact_out_point=str(end),
        in_timecode=file.in_timecode,
        out_timecode=file.out_timecode,
    )


def _made_of(part: ClipFile | Made, zero: Fraction) -> MadeRange:
    return _made(part, part.in_point - zero, part.out_point - zero)


def _encryption(request: ClipCreate) -> EncryptionView | None:
    asked = request.encryption
    return None if asked is None else EncryptionView(scheme=asked.scheme, kid=asked.kid)


def _missing(record: ClipRecord | None, position: int | None = None) -> list[MissingRange]:
    if record is None:
        return []
    return [
        MissingRange(
            start=shown_seconds(gap_start(record.request, gap)), duration=shown_seconds(gap.duration), track=gap.track
        )
        for gap in record.gaps
        if position in {None, gap.range}
    ]


def _ranges(request: ClipCreate, record: ClipRecord | None) -> list[RangeView]:
    """Return the ranges of a reel."""
    file = record.file if record else None
    made: Sequence[Made | ClipFile] = file.ranges or (file,) if file else ()
    return [
        RangeView(
            job_id=asked.event,
            asked=_asked(asked),
            made=_made_of(made[position], asked.zero) if made and made[position].duration else None,
            gaps=_missing(record, position),
        )
        for position, asked in enumerate(request.ranges)
    ]


def destination_views(known: KnownClip, sent: Mapping[str, int]) -> list[DestinationView]:
    """Return the views of a clip's destinations; `sent` has the bytes that some of them have taken, by export."""
    deliveries = {one.export: one for one in known.record.deliveries} if known.record else {}
    return [
        DestinationView(
            id=spec.export,
            type=spec.type,
            url=spec.shown or None,
            credentials=spec.credential or None,
            sent_bytes=sent.get(spec.export),
            **deliveries.get(spec.export, ClipDelivery(export=spec.export)).model_dump(include=_OF_DELIVERIES),
        )
        for spec in known.request.destinations
    ]


def _kind_and_url(
    request: ClipCreate, first: DestinationView, media_url: str | None, playlist_url: str
) -> tuple[DestinationType | Literal["instant"], str | None]:
    if request.instant:
        return "instant", playlist_url
    return first.type, media_url if first.type == "library" else first.url


def _of_file(file: ClipFile | None) -> dict[str, Any]:
    """Return the fields of a view that tell what its file is; none without one."""
    if file is None:
        return {}
    return {
        "jvod_reported_duration_s": shown_seconds(file.duration),
        "accuracy": file.accuracy,
        "method": file.method,
        "method_reason": file.reason,
        "bytes": file.bytes,
        "sha256": file.sha256,
    }


def view(downloads: Downloads, known: KnownClip, sent: Mapping[str, int] = _NOTHING) -> VodView:
    """Return a clip's view, from its record or, before there is one, from the command."""
    request, record, file = known.request, known.record, known.record.file if known.record else None
    destinations = destination_views(known, sent)
    media_url = downloads.url(request.clip) if file else None
    playlist_url = downloads.playlist_url(request.account, request.clip)
    kind, where = _kind_and_url(request, destinations[0], media_url, playlist_url)
    return VodView(
        jvod_id=request.clip,
        job_id=request.event,
        label=request.label,
        user_id=request.account,
        jvod_state=known.state,
        jvod_type=kind,
        jvod_url=where,
        media_url=media_url,
        playlist_url=playlist_url,
        signed_url=downloads.signed_url(request.account, request.clip) if file else None,
        progress=percent_of(known, sent),
        jvod_created_at=known.created_ms,
        jvod_last_state_change_at=known.changed_ms,
        jvod_finished_at=record.finished_ms if record else None,
        jvod_duration_s=shown_seconds(request.asked_duration),
        asked=_asked(request),
        made=_made(file, *points_of(request, file)) if file else None,
        gaps=_missing(record),
        ranges=_ranges(request, record),
        **_of_file(file),
        **edit_view(request.edit),
        encryption=_encryption(request),
        images=image_views(downloads, known),
        delivered=destinations[0].accuracy,
        location=destinations[0].location,
        destinations=[] if request.instant else destinations,
        wait=request.wait,
        error=record.error if record else "",
    )
