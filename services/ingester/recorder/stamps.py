"""Times of access units, of which a packet stamps only the first that begins in it (ISO/IEC 13818-1, 2.4.3.7, 2.7.4).

Those without a stamp wait for the next one. They are decoded at even steps between the two, and shown where their
picture order counts (H.264 8.2.1, H.265 8.3.1) put them.
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
    """A unit with its decoding time, 90 kHz without wraps, and how much later it is shown."""

    unit: Unit
    dts: int
    offset: int


class _Order(NamedTuple):
    """A unit's position in order of presentation; `position` goes on within one sequence only."""

    sequence: int
    position: int


@dataclass(slots=True)
class _Anchor:
    """A unit whose times are known; its order is read when it is needed."""

    unit: Unit
    dts: int
    offset: int
    order: _Order | None = None


class Stamps:
    """Gives each access unit its times. Units before the first stamp are dropped, and counted in `damaged`."""

    def __init__(self, read: Callable[[Unit], tuple[Slice | None, int]]) -> None:
        self.damaged = 0
        self._read = read
        self._waiting: list[tuple[Unit, _Order | None]] = []
        self._anchor: _Anchor | None = None
        self._torn = False  # units have been lost since the anchor
        self._partial = False  # units without stamps have been seen
        self._step = 0
        self._scale: Fraction | None = None  # ticks of one picture order count
        self._first: int | None = None  # how much later than decoded the last IDR picture was shown
        self._sequence = 0
        self._count = 0

    def stamped(self, unit: Unit, dts: int, offset: int) -> list[Placed]:
        """Take a unit whose times are known; give it behind those that have waited for it."""
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
        """Take a unit without a stamp; give what has waited for as long as stamps may be apart."""
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
        """Hear that units have been lost here: how many, only the next stamp tells."""
        placed = self.finish()
        self._torn = True
        return placed

    def finish(self) -> list[Placed]:
        """Return what waits, by the steps seen so far."""
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
        """Time what waits between the anchor and the stamp that has come, or before that where units were lost."""
        count, anchor = len(self._waiting), self._anchor
        if anchor is None or self._torn:
            first, step = following.dts - count * (self._step or USUAL), Fraction(self._step or USUAL)
            near: tuple[_Anchor, ...] = (following,)
        else:
            step = Fraction(following.dts - anchor.dts, count + 1)
            usual = self._step or step
            if step <= 0 or not usual / 2 <= step <= 2 * usual or step > LONGEST:
                step = Fraction(self._step or USUAL)  # a jump or a pause, for one of which the last unit lasts
            else:
                self._step = round(step)
            first = anchor.dts + round(step)
            near = (anchor, following)
            self._measure(anchor, following)
        placed = self._place([first + round(index * step) for index in range(count)], near)
        self._waiting.clear()
        return placed

    def _place(self, times: Sequence[int], near: Sequence[_Anchor]) -> list[Placed]:
        """Tell when the units that wait are shown, given when they are decoded and what is known near them."""
        placed = []
        anchors = list(near)
        for (unit, order), dts in zip(self._waiting, times, strict=True):
            known = next((a for a in anchors if a.order and order and a.order.sequence == order.sequence), None)
            offset = near[0].offset
            if known is None and unit.clean and order and self._first is not None:  # as far behind as the last such
                known = _Anchor(unit, dts, self._first, order)
                anchors.append(known)
            if known is not None and known.order and order and self._scale:
                told = known.dts + known.offset + round((order.position - known.order.position) * self._scale) - dts
                offset = told if abs(told) <= MAX_OFFSET else offset  # a damaged count
            placed.append(Placed(unit, dts, offset))
        return placed

    def _measure(self, before: _Anchor, after: _Anchor) -> None:
        """Learn how much time a picture order count stands for."""
        if before.order is None or after.order is None or before.order.sequence != after.order.sequence:
            return
        counts = after.order.position - before.order.position
        ticks = after.dts + after.offset - before.dts - before.offset
        if counts and 0 < Fraction(ticks, counts) <= LONGEST:
            self._scale = Fraction(ticks, counts)

    def _order(self, unit: Unit) -> _Order | None:
        """Read a unit's position in order of presentation; None where the stream has no reordering, or hides it."""
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
