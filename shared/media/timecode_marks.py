"""Labels of pictures as runs: where each begins, and from there they count on by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from shared.media.timecode import Counting, Label, TimecodeError

EARLY: Final = Fraction(1, 4)
"""A picture this part of a label's time before its own belongs to it: stamps are rounded, and pairs share a label."""


class Mark(NamedTuple):
    """From tick `at` on labels count on from `number`, or stand `still` at it."""

    at: int
    number: int
    still: bool = False

    def counted(self, at: int, rate: Fraction, scale: int) -> int:
        """Return the number of the label at a tick of `scale`, which may go beyond midnight."""
        return self.number if self.still else self.number + ((at - self.at) * rate / scale + EARLY).__floor__()

    def before(self, at: int, counting: Counting, rate: Fraction, scale: int) -> Mark:
        """Return the mark as it would be at an earlier tick."""
        return Mark(at, self.counted(at, rate, scale) % counting.a_day, self.still)


def marks_of(labels: Sequence[tuple[int, Label]], counting: Counting, rate: Fraction, scale: int) -> list[Mark]:
    """Return where the labels of pictures, in order of time, begin to run anew; those it cannot count are left out."""
    marks: list[Mark] = []
    last: tuple[int, int] | None = None
    for at, label in labels:
        try:
            number = counting.number(label._replace(drop=counting.drop))
        except TimecodeError:
            continue
        if not marks:
            marks.append(Mark(at, number))
        elif marks[-1].counted(at, rate, scale) % counting.a_day != number:
            stands = last is not None and last[1] == number and (at - last[0]) * rate / scale + EARLY >= 1
            if stands and marks[-1].number == number and marks[-1].at == last[0]:  # type: ignore[index]
                marks[-1] = marks[-1]._replace(still=True)
            elif not marks[-1].still or marks[-1].number != number:
                marks.append(Mark(last[0], number, still=True) if stands and last else Mark(at, number))
        last = (at, number)
    return marks
