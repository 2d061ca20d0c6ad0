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
    "from the second break on a recovery is told when it has lasted": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "live"), (33.9, "live"), (34, "live")],
        ["live", "waiting", "live", "waiting", "live"],
    ),
    "and then for twice as long": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "live"), (34, "live"), (35, "waiting"),
         (36, "live"), (95, "live"), (96, "live")],
        ["live", "waiting", "live", "waiting", "live", "waiting", "live"],
    ),
    "a recovery that does not last is not told, nor its end": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "live"), (30, "waiting"), (31, "connecting"),
         (32, "live"), (61, "waiting")],
        ["live", "waiting", "live", "waiting"],
    ),
    "that it has failed is told after that it was lost, and once": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "failed"), (5, "live"), (6, "waiting"),
         (7, "failed"), (8, "live"), (9, "failed"), (10, "live"), (40, "live")],
        ["live", "waiting", "live", "waiting", "failed", "live"],
    ),
    "its removal is always told": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "live"), (5, "removed"), (6, "removed")],
        ["live", "waiting", "live", "waiting", "removed"],
    ),
    "ten minutes without a break are a new beginning": (
        [(0, "live"), (1, "waiting"), (2, "live"), (3, "waiting"), (4, "live"), (34, "live"), (634, "waiting"),
         (635, "live")],
        ["live", "waiting", "live", "waiting", "live", "waiting", "live"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("states", "expected"), LIVES.values(), ids=LIVES)
def test_which_states_of_a_target_are_told(
    states: list[tuple[float, TargetState]], expected: list[TargetState]
) -> None:
    assert told(*states) == expected


@pytest.mark.parametrize(("lives", "most"), [(1, 4), (13, 4), (31, 6), (73, 8), (400, 12), (599, 14)])
def test_a_target_that_breaks_for_ever_is_told_a_bounded_number_of_times(lives: int, most: int) -> None:
    """It lives for so many s each time, and is gone for one."""
    day = [(second, "waiting" if second % (lives + 1) == lives else "live") for second in range(86_400)]
    found = told(*day)  # type: ignore[arg-type]  # both are states
    assert len(found) <= most
    assert found[:4] == ["live", "waiting", "live", "waiting"], "the last is that it is broken"


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
