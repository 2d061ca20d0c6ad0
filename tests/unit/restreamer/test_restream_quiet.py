"""What repeats itself is told after growing silences."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.restreamer.quiet import LONGEST_QUIET, MOST_KNOWN, Repeats, TargetNews, quiet_ns
from shared.messages.restreams import TargetState

S = 1_000_000_000
MINUTE, HOUR = 60 * S, 3600 * S


def told(*states: tuple[float, TargetState]) -> list[TargetState]:
    """Give which of the states, each at its second, are told."""
    news = TargetNews()
    return [state for at, state in states if news.is_news(state, int(at * S))]


LIVES: dict[str, tuple[list[tuple[float, TargetState]], list[TargetState]]] = {
    "it is reached": ([(0, "connecting"), (1, "ready"), (2, "live"), (3, "live")], ["connecting", "live"]),
    "it is reached at once": ([(0, "live")], ["live"]),
    "it was refused": ([(0, "connecting"), (1, "failed"), (5, "failed")], ["connecting", "failed"]),
    "it is called again and again": (
        [(0, "connecting"), (1, "waiting"), (2, "connecting"), (3, "waiting"), (4, "connecting"), (5, "failed")],
        ["connecting", "waiting", "failed"],
    ),
    "nothing is sent to it after it failed": (
        [(0, "connecting"), (1, "failed"), (9, "ready"), (10, "failed"), (19, "ready"), (20, "failed")],
        ["connecting", "failed"],
    ),
    "it recovers": ([(0, "live"), (60, "waiting"), (61, "connecting"), (62, "live")], ["live", "waiting", "live"]),
    "it fails for good": ([(0, "live"), (9, "waiting"), (12, "failed")], ["live", "waiting", "failed"]),
    "a second break is told, and what follows after a silence": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "live"), (5, "waiting"), (6, "live"),
         (32.9, "live"), (33, "live")],
        ["live", "waiting", "live", "waiting", "live"],
    ),
    "that it failed is told in a silence, too": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "failed"), (5, "live"), (40, "live")],
        ["live", "waiting", "live", "waiting", "failed", "live"],
    ),
    "its removal is told in a silence, too": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "removed"), (5, "removed")],
        ["live", "waiting", "live", "waiting", "removed"],
    ),
    "ten minutes without a break are a new beginning": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (40, "live"), (641, "waiting"), (642, "live")],
        ["live", "waiting", "live", "waiting", "live", "waiting", "live"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("states", "expected"), LIVES.values(), ids=LIVES)
def test_which_states_of_a_target_are_told(
    states: list[tuple[float, TargetState]], expected: list[TargetState]
) -> None:
    assert told(*states) == expected


@pytest.mark.parametrize("period", [0.5, 1, 5, 13, 59, 73])
def test_a_target_that_breaks_for_ever_is_told_a_bounded_number_of_times(period: float) -> None:
    day = [(n * period / 2, ("waiting" if n % 2 else "live")) for n in range(int(86_400 * 2 / period))]
    found = told(*day)  # type: ignore[arg-type]  # both are states
    assert len(found) <= 2 * (4 + 8 + 24), "two at a time: at once, while the silences double, then hourly"
    assert found[:3] == ["live", "waiting", "live"]


def test_silences_double_to_an_hour() -> None:
    assert [quiet_ns(n) // S for n in range(9)] == [0, 30, 60, 120, 240, 480, 960, 1920, 3600]
    assert quiet_ns(1000) == LONGEST_QUIET // timedelta(microseconds=1) * 1000


def test_a_fault_that_repeats_is_told_less_and_less_and_others_at_once() -> None:
    faults = Repeats()
    at = [second for second in range(0, 86_400, 5) if faults.is_news("a.mp4: 404", second * S)]
    assert at[:5] == [0, 30, 90, 210, 450]
    assert len(at) < 40
    assert faults.is_news("b.mp4: 404", 86_400 * S)
    for number in range(2 * MOST_KNOWN):
        assert faults.is_news(number, 0)
    assert len(faults._known) == MOST_KNOWN
