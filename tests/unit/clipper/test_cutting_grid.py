"""Finding the frame rate behind rounded timestamps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.media.model import Int64s
from shared.media.seams.grid import RATES, find_grid
from shared.media.seams.source import reorder_depth

SCALE = 90000


def _stamps(rate: Fraction, count: int, first: int = 0, *, rounding: str = "ms") -> Int64s:
    times = [(first + n) / rate for n in range(count)]
    if rounding == "ms":
        ticks = [round(time * 1000) * 90 for time in times]
    elif rounding == "floor ms":
        ticks = [int(time * 1000) * 90 for time in times]
    else:
        ticks = [round(time * SCALE) for time in times]
    return np.array(ticks, np.int64)


@pytest.mark.parametrize("rounding", ["ms", "floor ms", "90k"])
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_every_rate_is_recognised(rate: Fraction, rounding: str) -> None:
    found = find_grid(_stamps(rate, 200, 77, rounding=rounding), SCALE)
    assert found is not None
    assert found.rate == rate
    assert abs(found.phase + found.index[0] * SCALE / rate - 77 * SCALE / rate) <= 90
    assert np.all(np.diff(found.index) == 1)


def test_rounded_grid_lies_on_the_sessions_start() -> None:
    """Rounding down must not pull the grid back: frame n is at n / rate exactly."""
    for rounding in ("ms", "floor ms"):
        found = find_grid(_stamps(Fraction(30), 100, 120, rounding=rounding), SCALE)
        assert found is not None
        assert found.phase == 0
        assert int(found.index[0]) == 120


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9), st.sampled_from(RATES), st.sets(st.integers(0, 99), max_size=20))
def test_dropped_frames_leave_holes_in_the_grid(first: int, rate: Fraction, dropped: set[int]) -> None:
    kept = np.array([n for n in range(100) if n not in dropped])
    found = find_grid(_stamps(rate, 100, rounding="90k")[kept] + first, SCALE)
    assert found is not None
    assert found.rate == rate
    assert np.array_equal(found.index - found.index[0], kept - kept[0])


def test_order_does_not_matter() -> None:
    stamps = _stamps(Fraction(25), 9)
    shuffled = stamps[[0, 3, 1, 2, 6, 4, 5, 8, 7]]
    found = find_grid(shuffled, SCALE)
    assert found is not None
    assert found.index.tolist() == [0, 3, 1, 2, 6, 4, 5, 8, 7]


def test_wavering_rates_have_no_grid() -> None:
    stamps = _stamps(Fraction(30), 100)
    stamps[40:] += 450  # 5 ms
    assert find_grid(stamps, SCALE) is None
    assert find_grid(stamps[:1], SCALE) is None
    assert find_grid(np.cumsum(np.random.default_rng(1).integers(1000, 9000, 100)), SCALE) is None


def test_reorder_depth() -> None:
    assert reorder_depth(np.array([0, 1, 2, 3])) == 0
    assert reorder_depth(np.array([0, 3, 1, 2])) == 1
    assert reorder_depth(np.array([0, 4, 2, 1, 3, 8, 6, 5, 7])) == 2
    assert reorder_depth(np.array([], np.int64)) == 0
