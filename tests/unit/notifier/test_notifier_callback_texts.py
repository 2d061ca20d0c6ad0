"""What a callback of the CDNetworks API says of each event, and with which code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.notifier.events import Happening
from services.notifier.forms import FORMS, Words
from shared.messages.restreams import (
    RestreamEvent,
    RestreamFileStarted,
    RestreamStateChanged,
    RestreamTargetChanged,
    RestreamWarned,
    Target,
    TargetStatus,
)

A, B = (
    Target(target=n * 16, url=f"rtmp://{n}.example/live/key", shown=f"rtmp://{n}.example/live/***") for n in "ab"
)  # fmt: skip
FORM = FORMS["cdnetworks"]
TASK: dict[str, Any] = {"id": "7", "cmd": "1", "srcurl": "[]", "files": True}
ABOUT: dict[str, Any] = {"account": "main", "restream": "4" * 32, "run": 1, "number": 1, "at_ms": 1}


def said(event: RestreamEvent, **task: Any) -> Words:
    return FORM.body(Happening(event, 1, 1), TASK | task, lambda sealed: sealed)


def over(state: Any, **fields: Any) -> RestreamStateChanged:
    return RestreamStateChanged(**ABOUT, state=state, targets=(A, B), **fields)


def target(state: Any, error: str = "", **fields: Any) -> RestreamTargetChanged:
    status = TargetStatus(target=A.target, shown=A.shown, state=state, since_ms=1, error=error, connects=2)
    return RestreamTargetChanged(**ABOUT, status=status, target=A, **fields)


SAID: list[tuple[RestreamEvent, str, str, str]] = [
    (target("live"), "0", "1", "Start pushing!"),
    (target("live", again=True), "0", "1", "Pushing again!"),
    (target("waiting", "nobody answered"), "2", "1", "Push not possible yet, trying again: nobody answered"),
    (target("waiting", "it was lost", again=True), "2", "1", "Push interrupted, trying again: it was lost"),
    (target("failed", "refused"), "1", "1", "Push failed: refused"),
    (target("removed"), "0", "2", "Stop pushing!"),
    (over("ended"), "0", "1", "Task ended!"),
    (over("ended", reason="its time is over"), "0", "1", "Task ended: its time is over"),
    (over("ended", missed=(A.target, B.target)), "1", "1", "Task ended, but nothing was pushed to any address"),
    (
        over("ended", reason="its time is over", missed=(A.target, B.target)), "1", "1",
        "Task ended: its time is over, but nothing was pushed to any address",
    ),
    (
        over("ended", missed=(B.target,)), "2", "1",
        "Task ended, but nothing was pushed to rtmp://b.example/live/***",
    ),
    (
        over("ended", missed=(B.target,), broken=(A.target,)), "2", "1",
        ("Task ended, but nothing was pushed to rtmp://b.example/live/***, "
        "the push to rtmp://a.example/live/*** was interrupted"),
    ),
    (
        over("ended", broken=(A.target, B.target)), "2", "1",
        ("Task ended, but the push to rtmp://a.example/live/*** was interrupted, "
        "the push to rtmp://b.example/live/*** was interrupted"),
    ),
    (over("failed", reason="no file"), "1", "1", "Task failed: no file"),
    (over("stopped", reason="stopped", missed=(A.target,)), "0", "2", "Task terminated!"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "code", "cmd", "msg"), SAID, ids=lambda v: v if isinstance(v, str) else "")
def test_the_code_is_the_truth(event: RestreamEvent, code: str, cmd: str, msg: str) -> None:
    assert FORM.applies(Happening(event, 1, 1), TASK)
    body = json.loads(said(event).posted)
    assert (body["code"], body["cmd"], body["msg"]) == (code, cmd, msg)
    assert body.keys() == {"msg", "code", "srcurl", "cmd", "id", "forwardurl"}


def warned(**fields: Any) -> RestreamWarned:
    return RestreamWarned(**ABOUT, text="it is over", targets=(A,), **fields)


# The call that the receiver was named by, and the cmd that what follows has.
CALLS: list[tuple[str, RestreamEvent, str]] = [
    ("1", target("live"), "1"),
    ("3", target("live"), "3"),
    ("5", over("ended"), "5"),
    ("5", over("stopped"), "2"),
    ("3", warned(refused="c" * 32), "3"),
    ("2", warned(refused="c" * 32), "2"),
    ("2", warned(), "1"),  # a termination of some targets told a receiver to a task that had none
    ("2", target("live"), "1"),
    ("2", target("removed"), "2"),
    ("2", over("stopped"), "2"),
]


@pytest.mark.parametrize(("call", "event", "cmd"), CALLS)
def test_the_cmd_is_that_of_the_call_that_it_is_the_outcome_of(call: str, event: RestreamEvent, cmd: str) -> None:
    words = said(event, cmd=call)
    assert json.loads(words.posted)["cmd"] == words.shown["cmd"] == cmd


FILE = RestreamFileStarted(
    **ABOUT, item=0, loop=1, shown="a.mp4", how="copied", video="h264", audio="aac", width=1280, height=720, rate="25",
    duration=705_600_000, targets=(A, B),
)  # fmt: skip
# Each kind of message as it is posted.
POSTED: list[tuple[RestreamEvent, str]] = [
    (
        target("live"),
        (
            '{"msg": "Start pushing!", "code": "0", "srcurl": "[]", "cmd": "1", "id": "7", '
            '"forwardurl": "rtmp://a.example/live/key"}'
        ),
    ),
    (
        over("failed", reason="\u8d5b\u4e8b"),
        (
            '{"msg": "Task failed: \u8d5b\u4e8b", "code": "1", "srcurl": "[]", "cmd": "1", "id": "7", '
            '"forwardurl": "[\\"rtmp://a.example/live/key\\", \\"rtmp://b.example/live/key\\"]"}'
        ),
    ),
    (
        FILE,
        (
            '{"msg": "Start playing file: a.mp4", "code": "0", "srcurl": "[]", "cmd": "1", "id": "7", '
            '"forwardurl": "[\\"rtmp://a.example/live/key\\", \\"rtmp://b.example/live/key\\"]", '
            '"file": {"url": "a.mp4", "index": "1", "loop": "2", "how": "copied", "vcodec": "h264", "acodec": "aac", '
            '"width": "1280", "height": "720", "fps": "25", "duration": "1.000"}}'
        ),
    ),
]


@pytest.mark.parametrize(("event", "posted"), POSTED)
def test_what_is_posted_is_this_to_the_byte(event: RestreamEvent, posted: str) -> None:
    assert said(event).posted == posted


@pytest.mark.parametrize(("files", "told"), [(True, True), (False, False), (None, False)])
def test_files_are_told_to_those_who_asked(files: bool | None, told: bool) -> None:
    assert FORM.applies(Happening(FILE, 1, 1), {} if files is None else {"files": files}) is told


def test_people_see_neither_sources_nor_keys() -> None:
    shown = said(over("ended"), srcurl="secret").shown
    assert shown.keys() == {"msg", "code", "cmd", "id", "forwardurl"}
    assert "key" not in shown["forwardurl"]


@pytest.mark.parametrize(
    ("status", "answer", "read"),
    [(200, b"ok", True), (200, b"", False), (200, b" \r\n", False), (201, b"ok", False), (204, b"", False),
     (302, b"ok", False), (410, b"ok", False), (500, b"ok", False)],
)  # fmt: skip
def test_only_a_200_with_a_body_is_read(status: int, answer: bytes, read: bool) -> None:
    assert FORM.accepted(status, answer) is read
