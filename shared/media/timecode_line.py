"""The timecodes of a recording, and stream time: exact conversion between them.

Labels run on as long as they agree with stream time within half a second, also across a gap; over midnight they go on.
Where they do not, another run begins. The same label may lie in several runs, or in one on several days: what is meant
is the latest, and of a range the latest run that has both ends. Times are seconds of stream time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from shared.media.timecode import Counting, Label, TimecodeError, parse_label
from shared.media.timecode_marks import EARLY
from shared.media.timeline import TOLERANCE, Placed
from shared.messages.media import SegmentWritten

# How exactly labels must agree, in labels, for two stretches to be one.
SAME: Final = Fraction(1, 8)
# So long (s), and in so many runs at most, labels may go astray.
ASTRAY: Final = Fraction(2)
RECENT: Final = 4


class NoSuchTimecode(TimecodeError):  # noqa: N818  the tree of errors names what is wrong
    """The recording has no such label; `end` says which of a range's two is meant."""

    def __init__(self, why: str, end: Literal["start", "end"]) -> None:
        super().__init__(why)
        self.end = end


class Stretch(NamedTuple):
    """Labels that count on from `number`, shown at `start`, until `end`; or stand `still`."""

    start: Fraction
    end: Fraction
    number: int
    counting: Counting
    rate: Fraction
    still: bool = False

    def counted(self, at: Fraction) -> int:
        """Return the number of the label shown at a time, which may go beyond midnight."""
        return self.number if self.still else self.number + ((at - self.start) * self.rate + EARLY).__floor__()

    @property
    def last(self) -> int:
        """The number of the last label."""
        labels = ((self.end - self.start) * self.rate - EARLY).__ceil__()
        return self.number if self.still else self.number + max(labels - 1, 0)

    def at(self, number: int) -> Fraction:
        """Return when a label is shown."""
        return self.start if self.still else self.start + (number - self.number) / self.rate


def stretches_of(placed: Sequence[Placed]) -> list[Stretch]:
    """Return the stretches of a track's segments, in order of stream time."""
    found: list[Stretch] = []
    for p in placed:
        if p.segment.timecodes is not None:
            for stretch in _of_segment(p.segment, p.end):
                _add(found, stretch)
    return found


def joined(parts: Iterable[Iterable[Stretch]]) -> list[Stretch]:
    """Return the stretches of several parts of a recording as one list, in order of stream time."""
    found: list[Stretch] = []
    for stretch in sorted((stretch for part in parts for stretch in part), key=lambda s: s.start):
        _add(found, stretch)
    return found


def _of_segment(segment: SegmentWritten, end: Fraction) -> Iterator[Stretch]:
    told = segment.timecodes
    if told is None:
        return
    rate = Fraction(told.rate)
    origin = Fraction(segment.origin_ms, 1000)
    starts = [origin + Fraction(mark.at - segment.zero, segment.timescale) for mark in told.marks]
    for mark, start, until in zip(told.marks, starts, [*starts[1:], end], strict=True):
        label = parse_label(mark.label)
        counting = Counting(rate.__ceil__(), label.drop)
        yield Stretch(start, max(until, start), counting.number(label), counting, rate, mark.still)


def _add(found: list[Stretch], stretch: Stretch) -> None:
    """Append a stretch; one that only continues the last is joined to it."""
    last = found[-1] if found else None
    if last is None:
        found.append(stretch)
        return
    if stretch.start - last.end <= TOLERANCE:
        last = found[-1] = last._replace(end=max(stretch.start, last.start))
    if last.end == stretch.start and last[3:] == stretch[3:]:
        labels = 0 if last.still else (stretch.start - last.start) * last.rate
        off = (last.number + labels - stretch.number) % last.counting.a_day
        if min(off, last.counting.a_day - off) <= SAME:
            found[-1] = last._replace(end=stretch.end)
            return
    found.append(stretch)


@dataclass(frozen=True, slots=True)
class Run:
    """Stretches that go on from each other; their numbers go on beyond midnight.

    What asks for all stretches is worked out once: a source whose labels jitter makes thousands of them.
    """

    stretches: tuple[Stretch, ...]
    first: int = field(init=False)
    """The lowest number."""
    reached: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The highest number up to each stretch's end."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", min(stretch.number for stretch in self.stretches))
        object.__setattr__(self, "reached", tuple(accumulate((s.last for s in self.stretches), max)))

    @property
    def counting(self) -> Counting:
        """How it counts."""
        return self.stretches[0].counting

    @property
    def last(self) -> int:
        """The highest number."""
        return self.reached[-1]

    def at(self, number: int) -> Fraction:
        """Return when a label is first shown: a quarter of a label before, so that rounding of stamps does not matter.

        One that was skipped is at the next one that was not; one beyond the end is where it would come.
        """
        index = bisect_left(self.reached, number)
        stretch = self.stretches[min(index, len(self.stretches) - 1)]
        at = stretch.at(number)
        if stretch.number > number:
            at = min(self.stretches[max(index - 1, 0)].at(number), stretch.start)
        return at - EARLY / stretch.rate

    def days_of(self, number: int) -> Iterator[int]:
        """Yield where a label of the day lies within the run, or right behind it: the latest first."""
        day = self.counting.a_day
        at = number + (self.last + 1 - number) // day * day
        while at >= self.first:
            yield at
            at -= day

    def ahead(self, number: int) -> int | None:
        """Return where a label lies that is still to come, within half a day; None when it is rather behind."""
        day = self.counting.a_day
        past = (number - self.last - 1) % day
        return self.last + 1 + past if past < day // 2 else None


def runs_of(stretches: Iterable[Stretch]) -> list[Run]:
    """Return the runs of stretches, in the order of their ends.

    Labels that go astray for a moment, as at a minute's end in some generators, do not end the run around them.
    """
    runs: list[list[Stretch]] = []
    for stretch in stretches:
        for back, run in enumerate(reversed(runs[-RECENT:])):
            number = _goes_on(run[-1], stretch)
            if number is not None and (not back or stretch.start - run[-1].end <= ASTRAY):
                run.append(stretch._replace(number=number))
                runs.append(runs.pop(-1 - back))
                break
        else:
            runs.append([stretch])
    return [Run(tuple(run)) for run in runs]


def _goes_on(last: Stretch, stretch: Stretch) -> int | None:
    """Return a stretch's number as the one before it counts, when it agrees within half a second."""
    if last.counting != stretch.counting:
        return None
    day = last.counting.a_day
    counted = last.counted(stretch.start)
    off = (stretch.number - counted + day // 2) % day - day // 2
    return counted + off if 2 * abs(off) <= last.counting.base else None


class Found(NamedTuple):
    """Start and end in stream time, as far as asked for; `sure`: both lie in what was recorded."""

    start: Fraction | None
    end: Fraction | None
    sure: bool


def find(runs: Sequence[Run], start: Label | None, end: Label | None, *, wait: bool = False) -> Found:
    """Find a range, or one of its ends. NoSuchTimecode, also when no run has both ends.

    With `wait`, an end that is still to come is preferred to an older run that has it.
    """
    if start is None or end is None:
        return _find_one(runs, start, end)
    coming = _coming(runs[-1], start, end) if runs else None
    if wait and coming is not None:
        return coming
    for run, first in _occurrences(runs, start, "start"):
        number = _number(run, end, "end")
        last = first + (number - first - 1) % run.counting.a_day + 1
        if first <= run.last and last <= run.last + 1:
            return Found(run.at(first), run.at(last), sure=True)
    if coming is not None:
        return coming
    if not any(first <= run.last for run, first in _occurrences(runs, start, "start")):
        return _find_one(runs, start, None)  # which raises, or is still to come
    counting = runs[-1].counting
    if (_number(runs[-1], end, "end") - _number(runs[-1], start, "start") - 1) % counting.a_day >= counting.a_day // 2:
        raise NoSuchTimecode("must be after the start", "end")
    raise NoSuchTimecode("the timecodes jump between the start and this one, or never come to it", "end")


def _coming(run: Run, start: Label, end: Label) -> Found | None:
    """Return a range that the newest run has not finished yet, if its start and end are that near to each other."""
    try:
        counting = run.counting
        first, last = counting.number(start), counting.number(end)
    except TimecodeError:
        return None
    length = (last - first - 1) % counting.a_day + 1
    begun = next((at for at in run.days_of(first) if at <= run.last), run.ahead(first))
    if begun is None or length > counting.a_day // 2 or begun + length <= run.last + 1:
        return None
    return Found(run.at(begun), run.at(begun + length), sure=False)


def _find_one(runs: Sequence[Run], start: Label | None, end: Label | None) -> Found:
    which: Literal["start", "end"] = "end" if start is None else "start"
    label = end if start is None else start
    if label is None or not runs:
        raise NoSuchTimecode("the recording has no timecodes", which)
    newest = runs[-1]
    for run, at in _occurrences(runs, label, which):
        if at <= run.last or (which == "end" and run is newest):
            return _one(run.at(at), which, sure=True)
    ahead = newest.ahead(_number(newest, label, which))
    if ahead is None:
        first, last = newest.counting.label(newest.first), newest.counting.label(newest.last)
        raise NoSuchTimecode(f"no picture of the recording has it: its timecodes run from {first} to {last}", which)
    return _one(newest.at(ahead), which, sure=False)


def _one(at: Fraction, which: str, *, sure: bool) -> Found:
    return Found(at, None, sure) if which == "start" else Found(None, at, sure)


def _occurrences(runs: Sequence[Run], label: Label, which: Literal["start", "end"]) -> Iterator[tuple[Run, int]]:
    """Yield where a label lies, the latest first; NoSuchTimecode when none of the runs counts such a label."""
    counted = False
    for run in reversed(runs):
        try:
            number = _number(run, label, which)
        except NoSuchTimecode:
            if run is runs[0] and not counted:
                raise
            continue
        counted = True
        for at in run.days_of(number):
            yield run, at


def _number(run: Run, label: Label, which: Literal["start", "end"]) -> int:
    try:
        return run.counting.number(label)
    except TimecodeError as error:
        raise NoSuchTimecode(str(error), which) from error


def label_at(stretches: Sequence[Stretch], at: Fraction) -> Label | None:
    """Return the label of the picture that begins at a time; None where there is none."""
    begun = [s for s in stretches if s.start - EARLY / s.rate <= at]
    return _label(begun, at)


def label_after(stretches: Sequence[Stretch], at: Fraction) -> Label | None:
    """Return the label that follows the last picture before a time, as an out point is given."""
    begun = [s for s in stretches if s.start + EARLY / s.rate <= at]
    return _label(begun, at)


def _label(begun: Sequence[Stretch], at: Fraction) -> Label | None:
    """Return what the last of the stretches counts; None when it ended before."""
    if not begun or at > begun[-1].end + TOLERANCE:
        return None
    return begun[-1].counting.label(begun[-1].counted(at))
