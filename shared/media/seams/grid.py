"""The frame rate behind recorded timestamps.

RTMP rounds every timestamp to a millisecond, and 90 kHz cannot hold 59.94 or 23.976 frames per second exactly.
When all timestamps lie within 1 ms of a steady rate, frames are numbered on that rate's grid, so that clips have
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
# Stamps that differ from their grid by less than _FINE ticks were never rounded to milliseconds. For rounded ones, a
# part of a session may not show the largest difference: the first frame's may be larger by _ROUNDED s.
_FINE, _ROUNDED = 2, Fraction(1, 4000)


@dataclass(frozen=True, slots=True)
class Grid:
    """Frames at `phase` ticks + n / `rate` seconds; `index` is n for each timestamp.

    `late`: the stamp of the session's first frame is this many ticks after its time (rounding, or truncation).
    """

    rate: Fraction
    phase: Fraction
    index: Int64s
    late: Fraction = Fraction(0)


def find_grid(pts: Int64s, timescale: int, first: int = 0) -> Grid | None:
    """Fit presentation times (ticks, any order, all different) to a steady rate; None when no rate fits all.

    `first` is the stamp of the session's first frame. If it lies on the grid as closely as the others, frames are
    numbered from it and it keeps its time: so a frame has the same time in all parts of a session, n / `rate` after
    the first frame's, whatever each part's own rounding is.
    """
    if len(pts) < 3:
        return None
    steps = np.diff(np.sort(pts))
    typical = int(np.median(steps))
    if typical <= 0:
        return None
    estimate = Fraction(timescale, typical)
    rates = {rate for rate in (*RATES, Fraction(round(estimate))) if rate and abs(rate / estimate - 1) < _NEAR}
    fits = [fit for rate in sorted(rates) if (fit := _fit(pts, timescale, rate)) is not None]
    return _from_first(min(fits, key=lambda fit: fit.high - fit.low), timescale, first) if fits else None


@dataclass(frozen=True, slots=True)
class _Fit:
    """A rate that fits: frames at `phase` + n / `rate`; the stamps differ from these by `low` to `high` ticks."""

    rate: Fraction
    phase: Fraction
    index: Int64s
    low: Fraction
    high: Fraction


def _fit(pts: Int64s, timescale: int, rate: Fraction) -> _Fit | None:
    """Fit stamps to a rate's grid whose phase is the middle of their residuals; None when the rate does not fit.

    Each stamp, rounded to a step of r, allows true phases within r / 2 of its residual. So the middle of the lowest and
    the highest residual is the middle of the phases that all allow. Truncation shifts it by the same constant for all.
    """
    scale, step = rate.numerator, rate.denominator * timescale
    index, residual = _nearest((pts - pts[0]) * scale, step)
    low, high = int(residual.min()), int(residual.max())
    spread = Fraction(high - low, scale)
    if spread > 2 * TOLERANCE * timescale or not _distinct(index):
        return None
    return _Fit(rate, int(pts[0]) + Fraction(high + low, 2 * scale), index, -spread / 2, spread / 2)


def _from_first(fit: _Fit, timescale: int, first: int) -> Grid:
    """Return the grid, with frames numbered from the session's first one if its stamp fits the others."""
    frame = timescale / fit.rate
    number = round((first - fit.phase) / frame)
    late = first - fit.phase - number * frame
    slack = 1 if fit.high - fit.low <= _FINE else _ROUNDED * timescale
    if not fit.low - slack <= late <= fit.high + slack:
        return Grid(fit.rate, fit.phase, fit.index)  # the encoder's clock has jumped or drifted since
    return Grid(fit.rate, Fraction(first), fit.index - number, late)


def _nearest(values: Int64s, step: int) -> tuple[Int64s, Int64s]:
    index = (values + step // 2) // step
    return index, values - index * step


def _distinct(index: Int64s) -> bool:
    return bool(np.all(np.diff(np.sort(index)) > 0))
