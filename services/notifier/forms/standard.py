"""The form of webhooks: `{"type", "timestamp", "data"}`, as Standard Webhooks recommends; any 2xx counts."""

from __future__ import annotations

import json
from typing import Any, Final

from services.notifier.clip_urls import kind_and_url
from services.notifier.events import Happening
from services.notifier.forms.form import Context, Form, Opened, Words
from services.notifier.named import state_of
from shared.messages.base import NotifyEvent
from shared.messages.clips import ClipEvent
from shared.messages.restreams import RestreamEvent
from shared.runtime.clock import rfc3339

MOST_GAPS: Final = 100
# Addresses of other receivers, and internal names.
_PRIVATE: Final[dict[str, Any]] = {
    "notifications": True, "note": True, "key": True, "file": {"key"},
    "subscription": True, "refused": True, "target": {"url"}, "targets": {"__all__": {"url"}},
    "output": {"notifications"},
}  # fmt: skip


class Standard:
    """The form of all endpoints; a subscription may name it, too."""

    brief: Final = False
    one_lane: Final = False

    def applies(self, happening: Happening, context: Context) -> bool:
        """Return True: every event is sent."""
        del happening, context
        return True

    def body(self, happening: Happening, context: Context, opened: Opened) -> Words:
        """Return the body for endpoints."""
        del context, opened
        words = payload(happening, None, "")
        return Words(encode(words).decode(), words)

    def accepted(self, status: int, said: bytes) -> bool:
        """Return whether the status is a 2xx."""
        del said
        return 200 <= status < 300


FORM: Final[Form] = Standard()


def encode(payload: dict[str, Any]) -> bytes:
    """Return the body as JSON; the same bytes on every try."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()


def payload(happening: Happening, notify: NotifyEvent | None, base_url: str) -> dict[str, Any]:
    """Return the body of a delivery.

    A receiver that a request names, for `notify`, also gets the clip as GET /v1/vods/{jvod_id} names it, or the job.
    """
    data = happening.event.model_dump(mode="json", exclude=_PRIVATE)
    if len(data.get("gaps", ())) > MOST_GAPS:
        data["gaps"] = data["gaps"][:MOST_GAPS]
    body: dict[str, Any] = {"type": happening.type, "timestamp": rfc3339(happening.at_ms), "data": data}
    if notify and isinstance(happening.event, ClipEvent):
        body |= {"event": notify} | _vod(happening.event, base_url)
    elif notify and isinstance(happening.event, RestreamEvent):
        output = happening.event.output
        told = {"job_id": output.job if output else None, "rtmp_out_id": happening.event.restream}
        body |= {"event": notify, "state": state_of(happening.event)} | told
    elif notify:
        told = {name: data[name] for name in ("state", "sep_state") if name in data}
        body |= {"event": notify, "job_id": data.get("event")} | told
    return body


def _vod(event: ClipEvent, base_url: str) -> dict[str, Any]:
    file = event.file
    kind, url = kind_and_url(event, base_url)
    return {
        "jvod_id": event.clip,
        "job_id": event.event,
        "label": event.label,
        "jvod_state": event.state,
        "jvod_type": kind,
        "jvod_url": url,
        "jvod_last_state_change_at": event.at_ms,
        "jvod_reported_duration_s": float(round(file.duration, 9)) if file else None,  # for JSON only
        "accuracy": file.accuracy if file else None,
        "bytes": file.bytes if file else None,
        "sha256": file.sha256 if file else None,
        "location": next((line.location for line in event.deliveries if line.location), ""),
        "error": event.error,
    }  # fmt: skip
