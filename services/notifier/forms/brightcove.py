"""Notifications as the Live API sends them to the receivers that its requests name.

Source: the vendor's page "Live API: Notifications", and a public handler of them: `job_id` is the live job's id or, of
a clip, the clip's; `event` is what the receiver asked for; `state`, or of a clip `jvod_state`, what it has become.
"""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel

from services.notifier.clip_urls import kind_and_url
from services.notifier.events import Happening
from services.notifier.forms.form import Context, Form, Opened, Words
from services.notifier.named import state_of
from shared.messages.base import NotifyEvent
from shared.messages.clips import ClipEvent
from shared.messages.live import JobStateChanged
from shared.messages.restreams import RestreamEvent


class Asked(BaseModel):
    """What a receiver asked for, and our own address."""

    notify: NotifyEvent
    server: str = ""


class Notifications:
    """A JSON object a request; any 2xx counts."""

    brief: Final = False
    one_lane: Final = False

    def applies(self, happening: Happening, context: Context) -> bool:
        """Return whether the event is one of a request's."""
        event = happening.event
        known = isinstance(event, ClipEvent | JobStateChanged) or state_of(event) is not None
        return known and bool(context.get("notify"))

    def body(self, happening: Happening, context: Context, opened: Opened) -> Words:
        """Return the object."""
        del opened
        asked, event = Asked.model_validate(context), happening.event
        told: dict[str, Any] = {"event": asked.notify, "account_id": event.account}
        if isinstance(event, ClipEvent):
            told |= _clip(event, asked.server)
        elif isinstance(event, JobStateChanged):
            told |= {"job_id": event.event, "state": event.state, "sep_state": event.sep_state}
        elif isinstance(event, RestreamEvent) and event.output:
            told |= {"job_id": event.output.job, "rtmp_out_id": event.restream, "state": state_of(event)}
        told["timestamp"] = happening.at_ms
        return Words(json.dumps(told, ensure_ascii=False, separators=(",", ":")), told)

    def accepted(self, status: int, said: bytes) -> bool:
        """Return whether the status is a 2xx."""
        del said
        return 200 <= status < 300


FORM: Final[Form] = Notifications()


def _clip(event: ClipEvent, server: str) -> dict[str, Any]:
    """Return the fields of a clip, by the names of the Live API."""
    kind, url = kind_and_url(event, server)
    location = "" if kind == "library" else event.deliveries[0].location  # Video Cloud's names the video
    return {
        "job_id": event.clip,
        "jvod_id": event.clip,
        "live_job_id": event.event,
        "label": event.label,
        "jvod_state": event.state,
        "jvod_url": location or url,
        "jvod_last_state_change_at": event.at_ms,
        "jvod_reported_duration_s": float(round(event.file.duration, 9)) if event.file else None,  # for JSON only
        "jvod_error_message": event.error or None,
    }
