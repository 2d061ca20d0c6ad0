"""A machine's wall clock against the broker's: corrected beyond a second, and no further than is known."""

from __future__ import annotations

import pytest

from shared.runtime.clock import BrokerClock
from shared.runtime.readiness import notes_on

NOW = 1_700_000_000_000
HOUR = 3_600_000


class Machine:
    """A clock that is so far ahead of the broker's."""

    def __init__(self, ahead_ms: int) -> None:
        self.ms = NOW + ahead_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return 1


@pytest.mark.parametrize("ahead_ms", [HOUR, -HOUR, 10_000, -10_000, 1001, -1001])
def test_a_skew_beyond_a_second_is_corrected(ahead_ms: int) -> None:
    clock = BrokerClock(Machine(ahead_ms))
    assert clock.compare(NOW + ahead_ms, NOW, NOW + ahead_ms)
    assert (clock.now_ms(), clock.skew_ms) == (NOW, ahead_ms)
    assert ("behind" in notes_on(clock)["clock"]) is (ahead_ms < 0)
    assert not clock.compare(NOW + ahead_ms, NOW + 900, NOW + ahead_ms), "it does not shake"
    assert clock.now_ms() == NOW


@pytest.mark.parametrize("ahead_ms", [0, 1000, -1000])
def test_a_kept_clock_is_left_alone(ahead_ms: int) -> None:
    clock = BrokerClock(Machine(ahead_ms))
    assert not clock.compare(NOW + ahead_ms, NOW, NOW + ahead_ms)
    assert (clock.now_ms(), clock.skew_ms, notes_on(clock)) == (NOW + ahead_ms, 0, {})


def test_a_slow_answer_tells_no_more_than_it_can() -> None:
    clock = BrokerClock(Machine(0))
    assert not clock.compare(NOW - 4000, NOW, NOW + 500)
    assert clock.compare(NOW - 9000, NOW, NOW - 5000)
    assert (clock.skew_ms, clock.now_ms()) == (-5000, NOW + 5000)
    assert not clock.compare(NOW + 5000, NOW, NOW - HOUR), "the machine's clock was set in between"


def test_a_clock_that_has_been_put_right_is_believed_again() -> None:
    machine = Machine(HOUR)
    clock = BrokerClock(machine)
    clock.compare(machine.ms, NOW, machine.ms)
    machine.ms = NOW + 5
    assert clock.compare(machine.ms, NOW, machine.ms)
    assert (clock.now_ms(), clock.skew_ms) == (NOW + 5, 0)
