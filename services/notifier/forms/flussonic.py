"""Events of DVR exports as the streamer API's event sinks get them: a JSON array, one at a time, 200 accepts.

Source: the vendor's pages "Event sinks" and, for the names, "Flussonic events to export video from the DVR". The
payload of these events is documented nowhere: it is the job's fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel

from services.notifier.events import Happening
from services.notifier.forms.form import Context, Form, Opened, Words
from shared.messages.base import Message
from shared.messages.clips import ClipStateChanged, VodState

NAME: Final = "flussonic"
EVENTS: Final[Mapping[VodState, str]] = {
    "processing": "dvr_mp4_export_start",
    "finished": "dvr_mp4_export_ready",
    "failed": "dvr_mp4_export_failed",
    "error": "dvr_mp4_export_failed",
    "cancelled": "dvr_mp4_export_aborted",
}
Maps = Sequence[Mapping[str, Sequence[str]]]


class Sink(BaseModel):
    """What the facade stores of a sink, and what the notifier adds: our own address."""

    only: list[dict[str, list[str]]] = []
    # "except" is a word of Python's
    less: list[dict[str, list[str]]] = []
    extra: dict[str, Any] = {}
    server: str = ""


class EventSinks:
    """Events to sinks. An array of one event a request: nothing is collected, and none overtakes another."""

    brief: Final = False
    one_lane: Final = True

    def applies(self, happening: Happening, context: Context) -> bool:
        """Return whether an event has a name here, and passes the sink's `only` and `except`."""
        found = _event(happening)
        if found is None:
            return False
        sink = Sink.model_validate(context)
        return (not sink.only or _any(sink.only, found)) and not _any(sink.less, found)

    def body(self, happening: Happening, context: Context, opened: Opened) -> Words:
        """Return the array."""
        del opened
        sink = Sink.model_validate(context)
        made = _event(happening) or {}
        made["server"] = urlsplit(sink.server).hostname or ""
        if sink.extra:
            made["extra"] = sink.extra
        return Words(json.dumps([made], ensure_ascii=False), made)

    def accepted(self, status: int, said: bytes) -> bool:
        """Return whether the status is 200."""
        del said
        return status == 200


FORM: Final[Form] = EventSinks()


def _event(happening: Happening) -> dict[str, Any] | None:
    """Return an event without the sink's own fields; None for what no sink is told of."""
    clip: Message = happening.event
    if not isinstance(clip, ClipStateChanged) or clip.note is None or clip.note.facade != NAME:
        return None
    name, job = EVENTS.get(clip.state), clip.note.document
    if name is None:
        return None
    made: dict[str, Any] = {
        "event": name,
        "event_id": happening.position,
        "utc_ms": happening.at_ms,
        "media": job.get("name", ""),
        "trace_id": job.get("trace_id", ""),
        "export_id": job.get("id", ""),
        **{key: job[key] for key in ("id", "from", "duration", "path") if key in job},
    }
    if name == "dvr_mp4_export_ready" and clip.file is not None:
        made["size"] = clip.file.bytes
    if clip.state in {"failed", "error"}:
        made["reason"] = clip.error or "the export failed"
    if clip.state == "cancelled":
        made["reason"] = "canceled"
    return made


def _any(maps: Maps, event: Mapping[str, Any]) -> bool:
    """Return whether one of the maps takes an event: all of a map's keys, and of each any value."""
    return any(
        all(key in event and any(like(p, str(event[key])) for p in patterns) for key, patterns in one.items())
        for one in maps
    )


def like(pattern: str, text: str) -> bool:
    """Return whether a text is as a pattern, in which `*` is anything; in time linear in the pattern's parts."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
