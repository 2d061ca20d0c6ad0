"""Times of access units; a packet stamps only the first that starts in it (ISO/IEC 13818-1, 2.4.3.7, 2.7.4).

Units without a stamp wait for the next stamp. Their decoding times are spread evenly between the two stamps, and their
presentation times follow from their picture order counts (H.264 8.2.1, H.265 8.3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from services.ingester.publication import MAX_OFFSET, VIDEO_SCALE
from services.ingester.recorder.slices import Slice
from services.ingester.recorder.units import Unit

MAX_WAITING = 256
LONGEST = VIDEO_SCALE  # stamps come every 0.7 s at the latest (2.7.4)
USUAL = VIDEO_SCALE // 30


class Placed(NamedTuple):
    """A unit with its decoding time (90 kHz, unwrapped) and its presentation offset."""

    unit: Unit
    dts: int
    offset: int


class _Order(NamedTuple):
    """A unit's position in presentation order; `position` is comparable within one sequence only."""

    sequence: int
    position: int


@dataclass(slots=True)
class _Anchor:
    """A unit whose times are known; its order is read when needed."""

    unit: Unit
    dts: int
    offset: int
    order: _Order | None = None


class Stamps:
    """Assigns times to access units. Units before the first stamp are dropped, and counted in `damaged`."""

    def __init__(self, read: Callable[[Unit], tuple[Slice | None, int]]) -> None:
        self.damaged = 0
        self._read = read
        self._waiting: list[tuple[Unit, _Order | None]] = []
        self._anchor: _Anchor | None = None
        self._torn = False  # units have been lost since the anchor
        self._partial = False  # units without stamps have been seen
        self._step = 0
        self._scale: Fraction | None = None  # ticks of one picture order count
        self._first: int | None = None  # presentation offset of the last IDR picture
        self._sequence = 0
        self._count = 0

    def stamped(self, unit: Unit, dts: int, offset: int) -> list[Placed]:
        """Take a unit whose times are known; return it after the units that waited for it."""
        following = _Anchor(unit, dts, offset, self._order(unit) if self._partial else None)
        before, torn = self._anchor, self._torn
        placed = self._settle(following) if self._waiting else []
        if not placed and before is not None and not torn and 0 < dts - before.dts <= LONGEST:
            self._step = dts - before.dts
        self._anchor, self._torn = following, False
        if unit.clean:
            self._first = offset
        placed.append(Placed(unit, dts, offset))
        return placed

    def unstamped(self, unit: Unit) -> list[Placed]:
        """Take a unit without a stamp; return the waiting units once no stamp came for the longest allowed time."""
        if not self._partial:
            self._partial = True
            if self._anchor is not None:
                self._anchor.order = self._order(self._anchor.unit)
        if self._anchor is None:
            self.damaged += 1
            return []
        self._waiting.append((unit, self._order(unit)))
        count = len(self._waiting)
        return self.finish() if count >= MAX_WAITING or count * (self._step or USUAL) >= LONGEST else []

    def lost(self) -> list[Placed]:
        """Handle lost units; how many is known only at the next stamp."""
        placed = self.finish()
        self._torn = True
        return placed

    def finish(self) -> list[Placed]:
        """Return the waiting units, timed by the steps seen so far."""
        if self._anchor is None or not self._waiting:
            return []
        step = self._step or USUAL
        times = [self._anchor.dts + (index + 1) * step for index in range(len(self._waiting))]
        placed = self._place(times, (self._anchor,))
        last = placed[-1]
        self._anchor = _Anchor(last.unit, last.dts, last.offset, self._waiting[-1][1])
        self._waiting.clear()
        return placed

    def _settle(self, following: _Anchor) -> list[Placed]:
        """Time the waiting units between the anchor and the new stamp, or back from the latter after a loss."""
        count, anchor = len(self._waiting), self._anchor
        if anchor is None or self._torn:
            first, step = following.dts - count * (self._step or USUAL), Fraction(self._step or USUAL)
            near: tuple[_Anchor, ...] = (following,)
        else:
            step = Fraction(following.dts - anchor.dts, count + 1)
            usual = self._step or step
            if step <= 0 or not usual / 2 <= step <= 2 * usual or step > LONGEST:
                step = Fraction(self._step or USUAL)  # a jump or a pause, through which the last unit lasts
            else:
                self._step = round(step)
            first = anchor.dts + round(step)
            near = (anchor, following)
            self._measure(anchor, following)
        placed = self._place([first + round(index * step) for index in range(count)], near)
        self._waiting.clear()
        return placed

    def _place(self, times: Sequence[int], near: Sequence[_Anchor]) -> list[Placed]:
        """Return the waiting units with presentation offsets, given their decoding times and the anchors near them."""
        placed = []
        anchors = list(near)
        for (unit, order), dts in zip(self._waiting, times, strict=True):
            known = next((a for a in anchors if a.order and order and a.order.sequence == order.sequence), None)
            offset = near[0].offset
            if known is None and unit.clean and order and self._first is not None:  # as the last IDR picture
                known = _Anchor(unit, dts, self._first, order)
                anchors.append(known)
            if known is not None and known.order and order and self._scale:
                told = known.dts + known.offset + round((order.position - known.order.position) * self._scale) - dts
                offset = told if abs(told) <= MAX_OFFSET else offset  # a damaged count
            placed.append(Placed(unit, dts, offset))
        return placed

    def _measure(self, before: _Anchor, after: _Anchor) -> None:
        """Update how many ticks one picture order count lasts."""
        if before.order is None or after.order is None or before.order.sequence != after.order.sequence:
            return
        counts = after.order.position - before.order.position
        ticks = after.dts + after.offset - before.dts - before.offset
        if counts and 0 < Fraction(ticks, counts) <= LONGEST:
            self._scale = Fraction(ticks, counts)

    def _order(self, unit: Unit) -> _Order | None:
        """Return a unit's position in presentation order; None where it cannot be read."""
        head, bits = self._read(unit)
        if head is None or head.poc < 0 or not bits:
            return None
        if head.idr >= 0:
            self._sequence += 1
            self._count = head.poc
        else:
            half = 1 << (bits - 1)
            self._count += ((head.poc - self._count + half) & (2 * half - 1)) - half
        return _Order(self._sequence, self._count)
