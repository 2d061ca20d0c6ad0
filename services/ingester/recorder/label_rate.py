"""How many labels a second a stream counts, and whether it drops some.

It is seldom said. Pictures may have a label each; at 50 and 60 a second pairs may share one (ST 12-1, 12); or only
keyframes have any. What the labels themselves show counts first, then the distance of the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Final

from services.ingester.publication import VIDEO_SCALE
from shared.media.timecode import Counting, Label, TimecodeError

BASES: Final = (24, 25, 30, 48, 50, 60, 100, 120)
NEAR: Final = 0.12
"""A measured rate belongs to a base when it is nearer than this part of it."""
SLOWER: Final = Fraction(1000, 1001)
LONG_ENOUGH: Final = 8 * VIDEO_SCALE
"""From here on stamps rounded to 1 ms tell a rate from 1000/1001 of it."""
Labels = Sequence[tuple[int, Label]]


class LabelRate:
    """Learns the rate from segment to segment. Times are 90 kHz ticks."""

    def __init__(self) -> None:
        self._known = 0  # from earlier segments
        self._base = 0
        self._never_drops = False  # it has counted labels that drop frame leaves out
        self._slower: bool | None = None
        self._anchor: tuple[int, int, Counting] | None = None

    def learn(
        self, labels: Labels, shown: Sequence[int], unit: tuple[int, int] | None
    ) -> tuple[Counting, Fraction] | None:
        """Return how the stream counts and the exact labels a second; None as long as nothing tells.

        `labels` are in order of their time, `shown` the times of all pictures; `unit`: a picture's duration as the
        stream states it, as a numerator and a denominator of seconds.
        """
        base = _from_steps(labels)
        self._known = base or self._known or _from_pictures(labels, shown, unit)
        if not self._known:
            return None
        most = max(label.frames for _, label in labels)
        if not base:  # a label beyond what was guessed is damaged, or there are more a second
            base = max(self._known, next(each for each in BASES if each > most))
        if base != self._base:
            self._base, self._anchor, self._slower = base, None, None
        counting = Counting(base, self._drops(labels))
        rate = Fraction(base)
        if counting.drop or self._is_slower(labels, counting, unit):
            rate *= SLOWER
        return counting, rate

    def _drops(self, labels: Labels) -> bool:
        if 2 * sum(label.drop for _, label in labels) <= len(labels) or self._base % 30:
            return False
        counting = Counting(self._base, drop=True)
        self._never_drops = self._never_drops or any(counting.lacks(label) for _, label in labels)
        return not self._never_drops

    def _is_slower(self, labels: Labels, counting: Counting, unit: tuple[int, int] | None) -> bool:
        """Return whether the rate is 1000/1001 of the base: as the stream states, or as measured."""
        if unit and all(unit):
            for pictures in (1, 2):  # a label a picture, or one for two
                stated = Fraction(unit[1], unit[0] * pictures) / counting.base
                if stated in (1, SLOWER):
                    return stated == SLOWER
        at, label = labels[-1]
        try:
            number = counting.number(label)
            first = counting.number(labels[0][1])
        except TimecodeError:
            return bool(self._slower)
        if self._anchor is None or self._anchor[2] != counting or self._anchor[0] > at:
            self._anchor = (labels[0][0], first, counting)
        since, counted = at - self._anchor[0], number - self._anchor[1]
        if since > 0:
            ratio = counted * VIDEO_SCALE / (since * counting.base)
            if abs(ratio - 1) > 0.02:  # the labels have jumped
                self._anchor = None
            elif since >= LONG_ENOUGH:
                self._slower = ratio < (1 + float(SLOWER)) / 2
        return bool(self._slower)


def _from_steps(labels: Labels) -> int:
    """Return the base by the time from one label to the next within a second; 0 when none follow each other."""
    firsts = [(at, label) for index, (at, label) in enumerate(labels) if not index or labels[index - 1][1] != label]
    steps = [
        (later - at) / (after.frames - label.frames)
        for (at, label), (later, after) in pairwise(firsts)
        if label[:3] == after[:3] and 0 < after.frames - label.frames <= 2
    ]
    return _nearest(VIDEO_SCALE / median(steps)) if steps and median(steps) > 0 else 0


def _from_pictures(labels: Labels, shown: Sequence[int], unit: tuple[int, int] | None) -> int:
    """Return the base by the rate of the pictures, or half of it where that alone agrees with the labels."""
    gaps = [after - before for before, after in pairwise(shown) if after > before]
    base = _nearest(VIDEO_SCALE / median(gaps)) if gaps else 0
    if not base and unit and all(unit):
        base = _nearest(unit[1] / unit[0])
    halves = [base // 2] if base in (48, 50, 60, 100, 120) else []
    fitting = [each for each in (base, *halves) if base and _agrees(labels, each)]
    return fitting[0] if fitting else base


def _agrees(labels: Labels, base: int) -> bool:
    counting = Counting(base)
    try:
        numbers = [counting.number(label) for _, label in labels]
    except TimecodeError:
        return False
    return all(
        abs((numbers[index] - numbers[0]) * VIDEO_SCALE - (at - labels[0][0]) * base) < VIDEO_SCALE
        for index, (at, _) in enumerate(labels)
    )


def _nearest(rate: float) -> int:
    base = min(BASES, key=lambda each: abs(each - rate))
    return base if abs(base - rate) <= NEAR * base else 0
