"""Whoever cannot read an hour asks for it at once, and ever more seldom while it stays lost."""

from __future__ import annotations

from itertools import pairwise

from shared.errors import Unavailable
from shared.messages.base import Message
from shared.messages.recordings import HourSummary
from shared.recording.asking import LONGEST, Asking
from shared.runtime.clock import SystemClock

SECOND_NS = 1_000_000_000
HOUR = HourSummary(
    hour=1, key="live/e/index/1.json", segments=1, bytes=1, sha256="0" * 64, log_sequence=1, stream_start_ms=0,
    stream_end_ms=1, wall_start_ms=0, wall_end_ms=1, longest_ms=1,
)  # fmt: skip


class Hands(SystemClock):
    """A clock that is moved by hand."""

    ns = 0

    def monotonic_ns(self) -> int:
        return self.ns


class Asked:
    """Notes when something was asked; the broker may be away."""

    def __init__(self, clock: Hands) -> None:
        self.clock = clock
        self.at: list[int] = []
        self.away = False

    async def emit(self, message: Message) -> int:
        del message
        self.at.append(self.clock.ns // SECOND_NS)
        if self.away:
            raise Unavailable("no broker")
        return 0


async def test_pauses_grow_up_to_ten_minutes() -> None:
    clock = Hands()
    asked = Asked(clock)
    asking = Asking(asked, clock)
    for second in range(3000):
        clock.ns = second * SECOND_NS
        asked.away = second < 45  # then nobody was asked
        await asking.ask("main", "e" * 32, HOUR)
    pauses = [after - before for before, after in pairwise(asked.at)]
    assert pauses[:9] == [15, 15, 15, 15, 30, 60, 120, 240, 480]
    assert set(pauses[9:]) == {LONGEST.seconds}
    await asking.ask("main", "e" * 32, HOUR.model_copy(update={"key": "live/e/index/2.json"}))
    assert asked.at[-1] == 2999, "another object is asked for at once"
