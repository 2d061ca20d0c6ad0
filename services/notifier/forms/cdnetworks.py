"""What the CDNetworks API's callbacks say: `{msg, code, srcurl, cmd, id, forwardurl}`, all strings.

Its page, "Callback info of VOD streaming". Code 0 is success, 1 failure, 2 a warning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from shared.messages.base import Message
from shared.messages.restreams import (
    FLICKS,
    Callback,
    RestreamEvent,
    RestreamFileStarted,
    RestreamStateChanged,
    RestreamTargetChanged,
    RestreamWarned,
    Target,
)

Open = Callable[[str], str]
SUCCESS, FAILURE, WARNING = "0", "1", "2"
_TERMINATE: Final = "2"


def callback_of(event: Message) -> Callback | None:
    """Return whom an event is told in the API's form; None when it is nobody, or not of the kind that is told."""
    if not isinstance(event, RestreamEvent) or event.callback is None or _said(event) is None:
        return None
    return event.callback


def callback_body(event: RestreamEvent, callback: Callback, opened: Open) -> dict[str, Any]:
    """Write a callback; `opened` gives sealed URLs."""
    code, text, cmd = _said(event) or (SUCCESS, "", None)
    body: dict[str, Any] = {
        "msg": text,
        "code": code,
        "srcurl": opened(callback.srcurl),
        "cmd": cmd or callback.cmd,
        "id": callback.id,
        "forwardurl": _forward([opened(target.url) for target in _targets(event)]),
    }
    if isinstance(event, RestreamFileStarted):
        body["file"] = _file(event)
    return body


def shown_body(event: RestreamEvent, callback: Callback) -> dict[str, Any]:
    """Write a callback for people: no source list, and targets without their keys."""
    code, text, cmd = _said(event) or (SUCCESS, "", None)
    forward = _forward([target.shown for target in _targets(event)])
    return {"msg": text, "code": code, "cmd": cmd or callback.cmd, "id": callback.id, "forwardurl": forward}


def _said(event: RestreamEvent) -> tuple[str, str, str | None] | None:
    """Return code, text and command; None for what is not told."""
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
        told = event.callback is not None and event.callback.files
        return (SUCCESS, f"Start playing file: {event.shown}", None) if told else None
    if isinstance(event, RestreamWarned):
        return (WARNING, f"{event.text} ({event.shown})" if event.shown else event.text, None)
    return None


def _end_said(event: RestreamStateChanged) -> tuple[str, str, None]:
    """Tell of an end: a failure when nothing was pushed to anybody, a warning when somebody missed some of it."""
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


def _targets(event: RestreamEvent) -> Sequence[Target]:
    if isinstance(event, RestreamTargetChanged):
        return (event.target,)
    targets: Sequence[Target] = getattr(event, "targets", ())
    return targets


def _forward(urls: Sequence[str]) -> str:
    """One address as it is, several as a JSON list, both in a string."""
    return urls[0] if len(urls) == 1 else json.dumps(list(urls))


def _file(event: RestreamFileStarted) -> dict[str, Any]:
    return {
        "url": event.shown, "index": str(event.item + 1), "loop": str(event.loop + 1), "how": event.how,
        "vcodec": event.video, "acodec": event.audio, "width": str(event.width), "height": str(event.height),
        "fps": event.rate, "duration": "" if event.duration is None else f"{event.duration / FLICKS:.3f}",
    }  # fmt: skip
