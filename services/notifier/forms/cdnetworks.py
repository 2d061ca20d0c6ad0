"""Callbacks of the CDNetworks API: `{msg, code, srcurl, cmd, id, forwardurl}`, all strings.

Source: its page "Callback info of VOD streaming". Code 0 is success, 1 failure, 2 a warning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel

from services.notifier.events import Happening
from services.notifier.forms.form import Context, Form, Opened, Words
from shared.messages.base import Message
from shared.messages.restreams import (
    FLICKS,
    RestreamFileStarted,
    RestreamStateChanged,
    RestreamTargetChanged,
    RestreamWarned,
    Target,
)

SUCCESS, FAILURE, WARNING = "0", "1", "2"
_START: Final = "1"
_TERMINATE: Final = "2"


class Task(BaseModel):
    """What the facade stores of a call; `services/gateway/facades/cdnetworks/translate.py` writes it."""

    id: str
    """The customer's task id."""
    cmd: Literal["1", "2", "3", "5"]
    srcurl: str
    """The src list as it was sent, a JSON string, sealed."""
    files: bool = False
    """callBackFileInfo; a resume has no such field, and keeps the value of the call before."""


class CdnNetworks:
    """Callbacks about restreams. Brief: few receivers send an answer that counts, and the next must not wait."""

    brief: Final = True
    one_lane: Final = False

    def applies(self, happening: Happening, context: Context) -> bool:
        """Return whether the page has a callback for this event; for files, whether callBackFileInfo asks for them."""
        event = happening.event
        if isinstance(event, RestreamFileStarted):
            return context.get("files") is True
        return _said(event) is not None

    def body(self, happening: Happening, context: Context, opened: Opened) -> Words:
        """Return a callback; the shown form has no source list, and targets without their keys."""
        event, task = happening.event, Task.model_validate(context)
        code, text, ends = _said(event) or (SUCCESS, "", None)
        cmd = ends or _cmd(event, task)
        targets = _targets(event)
        body: dict[str, Any] = {
            "msg": text,
            "code": code,
            "srcurl": opened(task.srcurl),
            "cmd": cmd,
            "id": task.id,
            "forwardurl": _forward([opened(target.url) for target in targets]),
        }
        if isinstance(event, RestreamFileStarted):
            body["file"] = _file(event)
        forward = _forward([target.shown for target in targets])
        shown = {"msg": text, "code": code, "cmd": cmd, "id": task.id, "forwardurl": forward}
        return Words(json.dumps(body, ensure_ascii=False), shown)

    def accepted(self, status: int, said: bytes) -> bool:
        """Return whether the answer is a 200 with a body."""
        return status == 200 and bool(said.strip())


FORM: Final[Form] = CdnNetworks()


def _cmd(event: Message, task: Task) -> str:
    """Return the cmd of the call that led to an event.

    A termination may name a receiver for a task that had none; later events of that task still belong to its start.
    """
    refused = isinstance(event, RestreamWarned) and event.refused
    return _START if task.cmd == _TERMINATE and not refused else task.cmd


def _said(event: Message) -> tuple[str, str, str | None] | None:
    """Return code, text and command; None for an event without a callback."""
    if isinstance(event, RestreamTargetChanged):
        return _target_said(event)
    if isinstance(event, RestreamStateChanged):
        if event.state == "ended":
            return _end_said(event)
        return {
            "stopped": (SUCCESS, "Task terminated!", _TERMINATE),
            "failed": (FAILURE, f"Task failed: {event.reason}", None),
        }.get(event.state)
    if isinstance(event, RestreamFileStarted):
        return (SUCCESS, f"Start playing file: {event.shown}", None)
    if isinstance(event, RestreamWarned):
        return (WARNING, f"{event.text} ({event.shown})" if event.shown else event.text, None)
    return None


def _end_said(event: RestreamStateChanged) -> tuple[str, str, None]:
    """Return the callback of an end: failure when no target got anything, a warning when some missed a part."""
    how = f"Task ended: {event.reason}" if event.reason else "Task ended"
    names = {target.target: target.shown for target in event.targets}
    missed, broken = ([names[name] for name in some if name in names] for some in (event.missed, event.broken))
    if names and len(missed) == len(names):
        return FAILURE, f"{how}, but nothing was pushed to any address", None
    faults = [f"nothing was pushed to {shown}" for shown in missed]
    faults += [f"the push to {shown} was interrupted" for shown in broken]
    if faults:
        return WARNING, f"{how}, but {', '.join(faults)}", None
    return SUCCESS, how if event.reason else f"{how}!", None


def _target_said(event: RestreamTargetChanged) -> tuple[str, str, str | None] | None:
    status = event.status
    broken = "Push interrupted" if event.again else "Push not possible yet"
    return {
        "live": (SUCCESS, "Pushing again!" if event.again else "Start pushing!", None),
        "waiting": (WARNING, f"{broken}, trying again: {status.error}", None),
        "failed": (FAILURE, f"Push failed: {status.error}", None),
        "removed": (SUCCESS, "Stop pushing!", _TERMINATE),
    }.get(status.state)


def _targets(event: Message) -> Sequence[Target]:
    if isinstance(event, RestreamTargetChanged):
        return (event.target,)
    targets: Sequence[Target] = getattr(event, "targets", ())
    return targets


def _forward(urls: Sequence[str]) -> str:
    """Return one address as it is, several as a JSON list in a string."""
    return urls[0] if len(urls) == 1 else json.dumps(list(urls))


def _file(event: RestreamFileStarted) -> dict[str, Any]:
    return {
        "url": event.shown, "index": str(event.item + 1), "loop": str(event.loop + 1), "how": event.how,
        "vcodec": event.video, "acodec": event.audio, "width": str(event.width), "height": str(event.height),
        "fps": event.rate, "duration": "" if event.duration is None else f"{event.duration / FLICKS:.3f}",
    }  # fmt: skip
