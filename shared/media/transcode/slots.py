"""Maps frames of any rate to the slots of a steady one: each slot shows the frame that is on show at its time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from shared.media.transcode.streams import FLICKS, ROUNDING

Frame = TypeVar("Frame")


@dataclass(slots=True)
class Slots(Generic[Frame]):
    """Yields (slot, frame) in order; slot 0 is the first frame's time, `first`.

    A frame belongs to the nearest slot, and halfway between two to the later one: halves are rounded the same way, or
    60 frames on 30 slots would judder. Of the frames of one slot the nearest is shown, and the last one stays on.
    """

    rate: Fraction
    first: int | None = None
    _next: int = 0
    _held: Frame | None = None
    _step: int = 0
    _at: int = 0
    _shown: Frame | None = None
    _own: int = 0
    _off: int = 0

    def push(self, at: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Take the next frame, shown from `at` (flicks) on; yield the slots of the one before it."""
        if self.first is None:
            self.first = at
        slot = max(self._slot(at), self._own)
        if self._held is not None:
            self._step = max(at - self._at, 1)
            yield from self._until(slot)
        off = abs(at - self.time(slot))
        if self._held is None or slot > self._own or off < self._off - ROUNDING:
            self._shown, self._off = frame, off
        self._held, self._at, self._own = frame, at, slot

    def finish(self, until: int | None = None) -> Iterator[tuple[int, Frame]]:
        """Yield the last frame's slots, at least one: up to `until`, or for as long as the frame before it."""
        if self._held is None:
            return
        if until is None:
            until = self._at + (min(self._step, 2 * FLICKS) if self._step else int(FLICKS / self.rate))
        yield from self._until(max(self._slot(until), self._next or 1))
        self._held = self._shown = None

    def time(self, slot: int) -> int:
        """Return the time of a slot, flicks."""
        return (self.first or 0) + slot * FLICKS * self.rate.denominator // self.rate.numerator

    def _slot(self, at: int) -> int:
        """Return the slot nearest to a time, which may be rounded to ms; halves round up."""
        return int(((at + ROUNDING - (self.first or 0)) * self.rate / FLICKS + Fraction(1, 2)) // 1)

    def _until(self, slot: int) -> Iterator[tuple[int, Frame]]:
        assert self._held is not None  # noqa: S101  asked for before
        assert self._shown is not None  # noqa: S101  as above
        while self._next < slot:
            yield self._next, (self._shown if self._next <= self._own else self._held)
            self._next += 1
