"""Jobs, clips and credentials as Brightcove's Live API shows them: its fields, null where there is nothing to tell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from services.gateway.delivery.addresses import JobAddresses
from services.gateway.delivery.downloads import Downloads
from services.gateway.domain.clips.clips import KnownClip
from services.gateway.domain.clips.points import points_of
from services.gateway.domain.clips.progress import percent_of
from services.gateway.domain.jobs.entering import HISTORY
from services.gateway.domain.jobs.publishers import Publisher
from services.gateway.facades.brightcove.models import is_clip
from services.gateway.identity.auth import Caller
from shared.messages.clips import ClipCreate
from shared.messages.credentials import CredentialRecord
from shared.messages.destinations import DESTINATION_PURPOSE, DestinationSpec
from shared.messages.jobs import JobRecord
from shared.security.secrets import SecretUnreadable, Vault, redact_url

Body = dict[str, Any]
_UNTIL_FINISHED: Final = 0


def iso(at_ms: int | None) -> str | None:
    """Return a time as ISO 8601 in UTC with ms; None for none."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_seconds(value: Fraction | None) -> float | int | None:
    """Return seconds for JSON, whole ones as an integer; None for none."""
    if value is None:
        return None
    return int(value) if value.denominator == 1 else float(round(value, 9))


def _ordered(clip: ClipCreate) -> Body:
    return {"id": clip.clip, "label": clip.label}


class Views:
    """Makes the bodies of answers."""

    def __init__(self, addresses: JobAddresses, downloads: Downloads, vault: Vault) -> None:
        self._addresses = addresses
        self._downloads = downloads
        self._vault = vault

    def created(self, job: JobRecord, asked: Sequence[Mapping[str, Any]], clips: Sequence[ClipCreate]) -> Body:
        """Return the answer to a new job with the outputs that it `asked` for; its caller may write jobs.

        `clips` are those among the outputs, in their order.
        """
        url, name = self._ingest(job, secret=True)
        ordered = iter(clips)
        outputs = [
            _ordered(next(ordered)) if is_clip(one) else self._rendition(job, number, one)
            for number, one in enumerate(asked)
        ]
        return {
            "id": job.event,
            "stream_url": url,
            "stream_name": name,
            "outputs": outputs,
            "static": job.static,
            "region": job.fields.get("region"),
            "reconnect_time": job.reconnect_time_s,
            "event_length": job.event_length_s,
            "live_dvr_sliding_window_duration": job.dvr_window_s,
            "live_stream": True,
            "sep_state": job.sep_state,
            "playback_url": self._addresses.playback(job, "index"),
            "playback_url_dvr": self._addresses.playback(job, "dvr"),
        }

    def _rendition(self, job: JobRecord, number: int, asked: Mapping[str, Any]) -> Body:
        """Return an output that is watched: what comes in is delivered, whatever was asked for."""
        label = asked.get("label")
        return {
            "id": hashlib.sha256(f"{job.event} {number}".encode()).hexdigest()[:32],
            "label": label if isinstance(label, str) else "",
            "playback_url": self._addresses.playback(job, "index"),
            "playback_url_dvr": self._addresses.playback(job, "dvr"),
            "playback_url_vod": self._addresses.playback(job, "dvr"),
        }

    def job(self, caller: Caller, job: JobRecord, publishers: list[Publisher] | None = None) -> Body:
        """Return a job; the measures of its publisher only for those that are given."""
        url, name = self._ingest(job, secret=caller.may("jobs:write"))
        created, kept = iso(job.created_ms), job.fields
        return {
            "id": job.event,
            "account_id": job.account,
            "user_id": job.account,
            "state": job.state,
            "state_history": [{"state": c.state, "transition_timestamp": c.at_ms} for c in job.history],
            "state_history_is_truncated": len(job.history) == HISTORY,
            "ssai_state": "none",
            "sep_state": job.sep_state,
            "region": kept.get("region"),
            "label": kept.get("label"),
            "channel_type": kept.get("channel_type") or "event",
            "protocol": kept.get("protocol") or "rtmp",
            "live_stream": True,
            "static": job.static,
            "reconnect_time": job.reconnect_time_s,
            "event_length": job.event_length_s,
            "live_dvr_sliding_window_duration_ms": job.dvr_window_s * 1000,
            "created_at": created,
            "submitted_at": created,
            "updated_at": iso(job.changed_ms),
            "finished_at": iso(job.finished_ms),
            "notifications": kept.get("notifications") or [],
            "outputs": [],
            "output_media_files": [],
            "encryption": {},
            "videocloud": kept.get("videocloud"),
            "playback_url": self._addresses.playback(job, "index"),
            "playback_url_dvr": self._addresses.playback(job, "dvr"),
            "input_media_file": _measures(publishers or []),
            "stream": {"name": name, "url": url, "created_at": created},
        }

    def _ingest(self, job: JobRecord, *, secret: bool) -> tuple[str, str | None]:
        """Return where an encoder publishes, by the protocol that was asked for, and its stream key, if it may be."""
        secrets = self._addresses.secrets(job) if secret else None
        if job.fields.get("protocol") == "srt":
            return (secrets.srt_url if secrets else self._addresses.srt_server), secrets and secrets.stream_key
        return self._addresses.rtmp_url, secrets and secrets.stream_key

    def clip(self, known: KnownClip) -> Body:
        """Return a clip."""
        request, record, spec = known.request, known.record, known.request.destinations[0]
        file = record.file if record else None
        start, end = points_of(request, file) if file else (None, None)
        known_yet = request.after_live is None or request.after_live.clock == "stream"
        if request.selection.clock == "stream" and known_yet:
            start, end = request.selection.start - request.zero, request.selection.end - request.zero
        kind, url = self._kind_and_url(known)
        return {
            "jvod_id": request.clip,
            "job_id": request.event,
            "label": request.label,
            "jvod_state": known.state,
            "jvod_progress": percent_of(known),
            "jvod_type": kind,
            "jvod_url": url,
            "jvod_created_at": known.created_ms,
            "jvod_last_state_change_at": known.changed_ms,
            "jvod_finished_at": (record.finished_ms if record else None) or _UNTIL_FINISHED,
            "jvod_duration_s": shown_seconds(request.asked_duration),
            "jvod_reported_duration_s": shown_seconds(file.duration) if file else None,
            "jvod_start_time_relative_s": shown_seconds(start),
            "jvod_end_time_relative_s": shown_seconds(end),
            "jvod_region": None,
            "jvod_cancelling_flag": known.state == "cancelling",
            "jvod_videocloud": self._video(spec),
            "jvod_error_message": (record.error if record else "") or None,
            "account_id": request.account,
            "user_id": request.account,
        }

    def _kind_and_url(self, known: KnownClip) -> tuple[str, str | None]:
        """Return what a clip is, and where it is or will be; in the library it is once there is a file."""
        request, spec = known.request, known.request.destinations[0]
        if request.instant:
            return "instant", self._downloads.playlist_url(request.account, request.clip)
        if spec.type != "library":
            return spec.type, spec.shown
        return spec.type, self._downloads.url(request.clip) if known.record and known.record.file else None

    def _video(self, spec: DestinationSpec) -> Body | None:
        """Return what was asked of Video Cloud; None for other destinations, and under another SECRET_KEY."""
        if spec.type != "videocloud" or not spec.options:
            return None
        try:
            options: Body = json.loads(self._vault.decrypt(spec.options, DESTINATION_PURPOSE))
        except SecretUnreadable:
            return None
        return options


def _measures(publishers: list[Publisher]) -> Body:
    """Return what is known of the input: that of the publisher that is connected, or was last."""
    status = publishers[0].status if publishers else None
    return {
        "duration_in_ms": None,
        "video_codec": (status.video_codec or None) if status else None,
        "audio_codec": (status.audio_codec or None) if status else None,
        "width": (status.width or None) if status else None,
        "height": (status.height or None) if status else None,
        "frame_rate": (status.frame_rate or None) if status else None,
        "audio_sample_rate": (status.sample_rate or None) if status else None,
        "channels": (status.channels or None) if status else None,
    }


def credential(record: CredentialRecord, token_url: str) -> Body:
    """Return credentials without their secrets; `token_url` is the one that gives tokens, in clear."""
    return {
        "credential_id": record.credential,
        "credential_label": record.name,
        "credential_type": record.type,
        "credential_public": record.public,
        "credential_private": record.masked,
        "credential_default_for_type": record.default_for_type,
        "oauth_settings": {"url": redact_url(token_url)} if record.url else None,
        "user_id": record.account,
    }


def credential_ref(record: CredentialRecord) -> Body:
    """Return the answer to new or changed credentials."""
    return {
        "credential_id": record.credential, "user_id": record.account, "credential_label": record.name,
    }  # fmt: skip
