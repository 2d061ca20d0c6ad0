"""What a holder says while the broker is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.restreamer import telling
from services.restreamer.playout import Warned
from services.restreamer.telling import MOST_WAITING, Telling, at_the_end, shown
from shared.errors import Unavailable
from shared.messages.restreams import (
    Item,
    RestreamRecord,
    RestreamSpec,
    Source,
    Target,
    TargetState,
    TargetStatus,
)
from shared.runtime.clock import SystemClock

RECORD = RestreamRecord(
    account="main", restream="4" * 32, state="playing", created_ms=1, changed_ms=1,
    spec=RestreamSpec(
        items=(Item(source=Source(kind="library", location="a", shown="a")),),
        targets=(Target(target="a" * 16, url="rtmp://x/y", shown="rtmp://x/y"),),
    ),
)  # fmt: skip


class Outbox:
    """One that is away at first."""

    away = True

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def emit(self, event: Any) -> int:
        if self.away:
            raise Unavailable("away")
        self.sent.append(event.text)
        return 1


async def test_what_must_be_done_is_done_after_as_many_events_as_there_is_room_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(telling, "AGAIN", timedelta(milliseconds=10))
    outbox, done = Outbox(), []
    said = Telling(outbox, SystemClock(), 0)  # type: ignore[arg-type]  # as far as it is used

    async def end() -> None:
        done.append(len(outbox.sent))

    async with said.running():
        for number in range(MOST_WAITING + 100):
            said.warned(RECORD, Warned(str(number)))
        said.add(end)
        assert not await said.finished(timedelta(milliseconds=50))
        outbox.away = False
        assert await said.finished(timedelta(seconds=20))
    assert outbox.sent == [str(number) for number in range(MOST_WAITING)]
    assert done == [MOST_WAITING]


TARGET = RECORD.spec.targets[0]


class Clock(SystemClock):
    """Stands where it is put."""

    def __init__(self) -> None:
        self.ns = 0

    def monotonic_ns(self) -> int:
        return self.ns


class Keeping:
    """An outbox that keeps what is published."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def emit(self, event: Any) -> int:
        self.events.append(event)
        return 1


def status(state: TargetState, *, unsent: bool = False) -> TargetStatus:
    return TargetStatus(target=TARGET.target, shown=TARGET.shown, state=state, since_ms=1, unsent=unsent)


async def test_a_target_is_live_once_media_was_sent_and_again_when_it_was_before() -> None:
    outbox, clock = Keeping(), Clock()
    said = Telling(outbox, clock, 0)  # type: ignore[arg-type]  # as far as it is used
    lives = [
        status("connecting"), status("live", unsent=True), status("live"), status("waiting"),
        status("live", unsent=True), status("live"), status("removed"), status("removed"), status("live"),
    ]  # fmt: skip
    async with said.running():
        for one in lives:
            said.targets(RECORD, [shown(one)])
        assert await said.finished(timedelta(seconds=20))
    told = [(event.status.state, event.again) for event in outbox.events]
    assert told == [
        ("connecting", False), ("live", False), ("waiting", True), ("live", True), ("removed", True), ("live", False),
    ]  # fmt: skip


async def test_a_holder_that_takes_over_knows_who_was_sent_to_before() -> None:
    outbox = Keeping()
    said = Telling(outbox, Clock(), 0, [TARGET.target])  # type: ignore[arg-type]  # as far as it is used
    async with said.running():
        said.targets(RECORD, [status("live")])
        assert await said.finished(timedelta(seconds=20))
    assert [event.again for event in outbox.events] == [True]


async def test_a_fault_that_comes_again_is_logged_each_time_and_told_now_and_then() -> None:
    outbox, clock = Keeping(), Clock()
    said = Telling(outbox, clock, 0)  # type: ignore[arg-type]  # as far as it is used
    recording = Item(source=Source(kind="recording", location="e" * 32, shown="reelay:recording/" + "e" * 32))
    record = RECORD.model_copy(update={"spec": RECORD.spec.model_copy(update={"items": (recording,)})})
    with capture_logs() as logs:
        async with said.running():
            for second in range(20):
                clock.ns = second * 1_000_000_000
                said.warned(record, Warned("it is gone", 0, recording.source.shown, skipped=True))
            assert await said.finished(timedelta(seconds=20))
    assert [(event.text, event.job) for event in outbox.events] == [("it is gone", "e" * 32)]
    assert {(line["event"], line["reason"], line["job"]) for line in logs} == {
        ("restream.file.skipped", "it is gone", "e" * 32)
    }
    assert [line["log_level"] for line in logs] == ["warning"] + ["debug"] * 19


ENDS: list[tuple[TargetState, bool, bool, TargetState, str]] = [
    ("live", False, True, "removed", ""),
    ("live", True, False, "failed", "nothing was sent to it"),
    ("ready", False, False, "failed", "nothing was sent to it"),
    ("connecting", False, False, "failed", "nothing was sent to it"),
    ("waiting", False, True, "removed", ""),
    ("waiting", False, False, "failed", "nothing was sent to it"),
    ("failed", False, True, "failed", ""),
    ("removed", False, False, "removed", ""),
]


@pytest.mark.parametrize(("state", "unsent", "reached", "end", "error"), ENDS)
def test_every_target_of_a_run_that_is_over_is_over(
    state: TargetState, unsent: bool, reached: bool, end: TargetState, error: str
) -> None:
    last = at_the_end(shown(status(state, unsent=unsent)), [TARGET.target] if reached else [])
    assert (last.state, last.error) == (end, error)
