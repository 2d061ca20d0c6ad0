"""When a playlist's segments are shown: each run has a base on the list's time, and a zero on its own clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.restreamer.model import FLICKS
from services.restreamer.sources.playlists.playlist import Segment

ROUNDED: Final = FLICKS // 100


class Runs:
    """A playlist's segments by number, and their times. Segments that are left out form a separate run."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = list(segments)
        self.zeros: dict[int, int] = {}
        self._bases: dict[int, int] = {}
        self._late: dict[int, int] = {}
        self._joined: set[int] = set()
        self._out: set[int] = set()
        self._firsts = self._find_firsts()

    def first(self, run: int) -> int:
        """Return the number of a run's first segment."""
        return self._firsts[run]

    def base(self, run: int) -> int:
        """Return when a run starts."""
        return self._bases.get(run, self.segments[self._firsts[run]].start)

    def time(self, segment: Segment) -> int:
        """Return when a segment starts, as far as is known."""
        return self.base(segment.run) + segment.start - self.segments[self._firsts[segment.run]].start

    def begin(self, number: int) -> int:
        """Return when a segment's first picture is shown, as far as is known."""
        return self.time(self.segments[number]) + self._late.get(number, 0)

    def learn(self, number: int, at: int) -> None:
        """Record when a segment's first picture is shown: rounded durations add up to errors."""
        segment = self.segments[number]
        self._late[number] = at - self.time(segment)
        run = [s for s in self.segments[number:] if s.run == segment.run]
        self.reach(number, at + run[-1].start + run[-1].duration - segment.start)

    def is_learned(self, number: int) -> bool:
        """Return whether it is certain when a segment's first picture is shown."""
        return number in self._late or self._firsts[self.segments[number].run] == number

    def is_joined(self, number: int) -> bool:
        """Return whether the run before a segment's run was read to its end."""
        return self._firsts[self.segments[number].run] in self._joined

    def reach(self, number: int, end: int) -> None:
        """Record that a segment's run was read up to `end`: the next run starts after that."""
        following = self.segments[number].run + 1
        if following in self._firsts and self.base(following) < end:
            self._bases[following] = end

    def index(self, at: int) -> int:
        """Return the number of the segment that is shown at a time, as far as is known."""
        found = max(bisect_right(self.segments, at, key=self.time) - 1, 0)
        return max([found, *(number for number in self._late if self.begin(number) <= at)])

    def present(self, number: int) -> int:
        """Return the number of the first segment from `number` on that is not left out; the list's length if none."""
        while number in self._out:
            number += 1
        return number

    def is_out(self, number: int) -> bool:
        """Return whether a segment is left out."""
        return number in self._out

    def end(self, number: int, longest: int) -> int:
        """Return the end of the segments that continue without a seam, for about as long as `longest`."""
        segment, end = self.segments[number], number + 1
        while end < len(self.segments) and self.segments[end].run == segment.run:
            if self.segments[end].start - segment.start >= longest:
                break
            end += 1
        return end

    def join(self, before: int, number: int, end: int) -> bool:
        """Let a segment follow another, whose last picture ends at `end`; return whether that is a seam.

        After a hole it keeps its time.
        """
        last, segment = self.segments[before], self.segments[number]
        if last.run == segment.run:
            return False
        hole = self.is_out(before) or segment.start - last.start - last.duration > ROUNDED
        told = self.time(last) + segment.start - last.start
        self._bases[segment.run] = max(end, told) if hole else end
        self._joined.add(number)
        return True

    def leave_out(self, first: int, end: int) -> None:
        """Leave out segments of one run; the run's later segments become another run, and keep their times."""
        run = self.segments[first].run
        times = {1: self.time(self.segments[first])}
        if end < len(self.segments) and self.segments[end].run == run:
            times[2] = self.time(self.segments[end])
        for known in (self.zeros, self._bases):
            moved = {key + 2 if key > run else key: value for key, value in known.items()}
            known.clear()
            known.update(moved)
        for number in range(first, len(self.segments)):
            segment = self.segments[number]
            self.segments[number] = replace(segment, run=run + 1 if number < end else segment.run + 2)
        self._out.update(range(first, end))
        self._firsts = self._find_firsts()
        self._bases.update({run + by: at for by, at in times.items()})

    def _find_firsts(self) -> dict[int, int]:
        return {s.run: n for n, s in reversed(list(enumerate(self.segments)))}
