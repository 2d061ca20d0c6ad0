"""The frame rate behind recorded timestamps.

RTMP rounds every timestamp to a millisecond, and 90 kHz cannot hold 59.94 or 23.976 frames per second exactly.
When all timestamps lie within 1 ms of a steady rate, frames are counted on that rate's grid, so that clips have
constant frame durations.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from shared.media.model import Int64s

TOLERANCE = Fraction(1, 1000)
RATES = (
    Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(48),
    Fraction(50), Fraction(60000, 1001), Fraction(60), Fraction(100), Fraction(120000, 1001), Fraction(120),
    Fraction(15000, 1001), Fraction(15), Fraction(25, 2), Fraction(10), Fraction(5), Fraction(1),
)  # fmt: skip
_NEAR = Fraction(7, 100)  # a rate measured on millisecond steps is up to 6 % off at 60 fps


@dataclass(frozen=True, slots=True)
class Grid:
    """Frames at `phase` ticks + n / `rate` seconds; `index` is n for each timestamp."""

    rate: Fraction
    phase: Fraction
    index: Int64s


def find_grid(pts: Int64s, timescale: int) -> Grid | None:
    """Fit presentation times (ticks, any order, no two alike) to a steady rate; None when none fits all."""
    if len(pts) < 3:
        return None
    steps = np.diff(np.sort(pts))
    typical = int(np.median(steps))
    if typical <= 0:
        return None
    estimate = Fraction(timescale, typical)
    rates = {rate for rate in (*RATES, Fraction(round(estimate))) if rate and abs(rate / estimate - 1) < _NEAR}
    fits = [fit for rate in sorted(rates) if (fit := _fit(pts, timescale, rate)) is not None]
    return min(fits, key=lambda fit: fit[0])[1] if fits else None


def _fit(pts: Int64s, timescale: int, rate: Fraction) -> tuple[Fraction, Grid] | None:
    """Give the spread of the residuals, in ticks, and the grid; None when the rate does not fit."""
    scale, step = rate.numerator, rate.denominator * timescale
    first = int(pts[0])
    index, residual = _nearest((pts - first) * scale, step)
    low, high = int(residual.min()), int(residual.max())
    spread = Fraction(high - low, scale)
    if spread > 2 * TOLERANCE * timescale or not _distinct(index):
        return None
    if spread > 2:
        # Rounded timestamps: their true grid is most likely the one that holds tick 0, the session's start.
        whole, off = _nearest(pts * scale, step)
        if int(np.abs(off).max()) <= TOLERANCE * timescale * scale and _distinct(whole):
            return spread, Grid(rate, Fraction(0), whole)
    return spread, Grid(rate, first + Fraction(high + low, 2 * scale), index)


def _nearest(values: Int64s, step: int) -> tuple[Int64s, Int64s]:
    index = (values + step // 2) // step
    return index, values - index * step


def _distinct(index: Int64s) -> bool:
    return bool(np.all(np.diff(np.sort(index)) > 0))
