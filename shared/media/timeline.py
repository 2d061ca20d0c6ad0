"""Exact stream time and wall clock of a recording, and its gaps: the only module that converts.

Stream time: seconds since the event's first frame. Wall clock: seconds since the epoch, UTC. Both are Fractions.
A frame shown at tick t lies at stream time `origin_ms / 1000 + (t - zero) / timescale`, and a segment that
begins (by decode time) at tick t at `origin_ms / 1000 + (t - lead) / timescale`. Its wall clock runs at real speed from
`wall_start_ms`; the next segment's `wall_start_ms` corrects the encoder's drift.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

from shared.errors import MediaError
from shared.messages.media import SegmentWritten, Track
from shared.messages.ranges import Gap, Selection

# Holes up to this long (s) are the encoder's jitter (audio frames, variable rates), not missing content.
TOLERANCE: Final = Fraction(1, 10)


class Identity(NamedTuple):
    """The fields that identify a segment within its event."""

    session: str
    track: Track
    sequence: int


class Joinable(Protocol):
    """The fields that decide whether two segments play without a seam, as in SegmentWritten."""

    @property
    def session(self) -> str: ...  # noqa: D102  the class says it
    @property
    def track(self) -> Track: ...  # noqa: D102
    @property
    def sequence(self) -> int: ...  # noqa: D102
    @property
    def init_key(self) -> str: ...  # noqa: D102
    @property
    def start(self) -> int: ...  # noqa: D102
    @property
    def duration(self) -> int: ...  # noqa: D102
    @property
    def timescale(self) -> int: ...  # noqa: D102
    @property
    def discontinuity(self) -> bool: ...  # noqa: D102


class Span(NamedTuple):
    """A part of stream time, start included, end excluded, in s."""

    start: Fraction
    end: Fraction


@dataclass(frozen=True, slots=True)
class Placed:
    """A segment with its position: stream time in s, wall clock of its start in s since the epoch."""

    segment: SegmentWritten
    start: Fraction
    end: Fraction
    wall: Fraction

    @property
    def wall_end(self) -> Fraction:
        """Return the wall clock of the segment's end, at real speed."""
        return self.wall + self.end - self.start


def identity(segment: SegmentWritten) -> Identity:
    """Return the segment's identity."""
    return Identity(segment.session, segment.track, segment.sequence)


def locate(segment: SegmentWritten) -> Placed:
    """Return the segment's position in stream time and on the wall clock."""
    origin = Fraction(segment.origin_ms, 1000)  # decode starts `zero` before presentation, and so do segments
    start = origin + Fraction(segment.start - segment.lead, segment.timescale)
    end = origin + Fraction(segment.start - segment.lead + segment.duration, segment.timescale)
    return Placed(segment, start, end, Fraction(segment.wall_start_ms, 1000))


def joins(before: Joinable, after: Joinable) -> bool:
    """Return whether `after` continues `before` seamlessly: same session, track and init, next sequence, no hole."""
    return (
        before.session == after.session
        and before.track == after.track
        and before.init_key == after.init_key
        and before.sequence + 1 == after.sequence
        and before.timescale == after.timescale
        and not after.discontinuity
        and abs(after.start - before.start - before.duration) * TOLERANCE.denominator <= after.timescale
    )


@dataclass(frozen=True, slots=True)
class Clocks:
    """Starts of segments in stream time (s, ascending) and by the wall clock (s since the epoch, never falling)."""

    starts: Sequence[Fraction]
    walls: Sequence[Fraction]

    @classmethod
    def of(cls, moments: Iterable[tuple[Fraction, Fraction]]) -> Clocks:
        """Make the clocks of segments, in order of stream time, from the start of each by both."""
        pairs = list(moments)
        return cls([start for start, _ in pairs], list(accumulate((wall for _, wall in pairs), max)))

    def to_wall(self, stream: Fraction) -> Fraction:
        """Convert stream time (s) to wall clock (s since the epoch); beyond the ends, at real speed."""
        at = max(bisect_right(self.starts, stream) - 1, 0)
        wall = self.walls[at] + stream - self.starts[at]
        return min(wall, self.walls[at + 1]) if at + 1 < len(self.walls) else wall

    def to_stream(self, wall: Fraction) -> Fraction:
        """Convert wall clock (s since the epoch) to stream time (s); beyond the ends, at real speed."""
        at = max(bisect_right(self.walls, wall) - 1, 0)
        stream = self.starts[at] + wall - self.walls[at]
        return min(stream, self.starts[at + 1]) if at + 1 < len(self.starts) else stream

    def resolve(self, selection: Selection) -> Span:
        """Return a selection by either clock as stream time.

        A duration from one wall-clock point is that much stream time, even if the wall clock steps within it.
        """
        if selection.clock == "stream":
            return Span(selection.start, selection.end)
        length = selection.end - selection.start
        start, end = self.to_stream(selection.start), self.to_stream(selection.end)
        if selection.held == "end":
            return Span(end - length, end)
        return Span(start, start + length if selection.held == "start" else end)


class Timeline:
    """Segments of one track in order of stream time, each once."""

    def __init__(self, segments: Iterable[SegmentWritten]) -> None:
        unique = {identity(segment): segment for segment in segments}
        placed = [locate(segment) for segment in unique.values()]
        placed.sort(key=lambda p: (p.start, p.segment.wall_start_ms, p.segment.session, p.segment.sequence))
        self._take(placed)

    def part(self, span: Span) -> Timeline:
        """Return the timeline of the segments that overlap `span`."""
        made = Timeline(())
        made._take(self.overlapping(span))
        return made

    def _take(self, placed: Sequence[Placed]) -> None:
        self.placed: tuple[Placed, ...] = tuple(placed)
        self._reach: list[Fraction] = []
        for p in placed:
            self._reach.append(max(self._reach[-1], p.end) if self._reach else p.end)
        self.clocks = Clocks.of((p.start, p.wall) for p in placed)

    def __bool__(self) -> bool:
        """Return whether there is any segment."""
        return bool(self.placed)

    @property
    def span(self) -> Span:
        """Return the span from the first frame's stream time to the last frame's end; MediaError without segments."""
        self._need()
        return Span(self.placed[0].start, self._reach[-1])

    def to_wall(self, stream: Fraction) -> Fraction:
        """Convert stream time (s) to wall clock (s since the epoch); beyond the ends, at real speed."""
        self._need()
        return self.clocks.to_wall(stream)

    def to_stream(self, wall: Fraction) -> Fraction:
        """Convert wall clock (s since the epoch) to stream time (s); beyond the ends, at real speed."""
        self._need()
        return self.clocks.to_stream(wall)

    def resolve(self, selection: Selection) -> Span:
        """Return a selection by either clock as stream time; MediaError when a wall-clock one has no segments."""
        if selection.clock == "wall":
            self._need()
        return self.clocks.resolve(selection)

    def overlapping(self, span: Span) -> tuple[Placed, ...]:
        """Return the segments that overlap `span`."""
        return tuple(p for p in self.placed if p.start < span.end and p.end > span.start)

    def covered(self) -> tuple[Span, ...]:
        """Return the recorded spans, with a hole between each two."""
        spans: list[Span] = []
        for p in self.placed:
            if spans and p.start - spans[-1].end <= TOLERANCE:
                spans[-1] = Span(spans[-1].start, max(spans[-1].end, p.end))
            else:
                spans.append(Span(p.start, p.end))
        return tuple(spans)

    def gaps(self, span: Span) -> tuple[Gap, ...]:
        """Return the parts of `span` that were not recorded, also at its ends; only those longer than TOLERANCE."""
        gaps: list[Gap] = []
        at = span.start
        for part in self.covered():
            _note(gaps, at, min(part.start, span.end))
            at = max(at, part.end)
        _note(gaps, at, span.end)
        return tuple(gaps)

    def runs(self) -> tuple[tuple[Placed, ...], ...]:
        """Return the segments in groups that play without a seam."""
        runs: list[list[Placed]] = []
        for p in self.placed:
            if runs and joins(runs[-1][-1].segment, p.segment):
                runs[-1].append(p)
            else:
                runs.append([p])
        return tuple(tuple(run) for run in runs)

    def _need(self) -> None:
        if not self.placed:
            raise MediaError("nothing was recorded")


def _note(gaps: list[Gap], start: Fraction, end: Fraction) -> None:
    if end - start > TOLERANCE:
        gaps.append(Gap(start=start, duration=end - start))
