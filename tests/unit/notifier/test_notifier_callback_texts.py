"""What a callback says of each event, and with which code."""

from __future__ import annotations

from typing import Any

import pytest

from services.notifier.cdnetworks import callback_body
from shared.messages.restreams import (
    Callback,
    RestreamEvent,
    RestreamStateChanged,
    RestreamTargetChanged,
    Target,
    TargetStatus,
)

A, B = (
    Target(target=n * 16, url=f"rtmp://{n}.example/live/key", shown=f"rtmp://{n}.example/live/***") for n in "ab"
)  # fmt: skip
TOLD = Callback(url="http://c.example/", id="7", cmd="1", srcurl="[]")
ABOUT: dict[str, Any] = {"account": "main", "restream": "4" * 32, "run": 1, "number": 1, "at_ms": 1, "callback": TOLD}


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
    body = callback_body(event, TOLD, lambda sealed: sealed)
    assert (body["code"], body["cmd"], body["msg"]) == (code, cmd, msg)
    assert body.keys() == {"msg", "code", "srcurl", "cmd", "id", "forwardurl"}
