"""What a clip is cut from: for each of its ranges, the segments that hold it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from shared.media.timeline import TOLERANCE, Span
from shared.messages.media import SegmentWritten
from shared.messages.ranges import Gap, MadeRange

# Frames up to this long (s) are shown whole; longer ones are held, and points within them are kept.
LONGEST_FRAME: Final = Fraction(1)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The segments of a range, and its in and out points in stream time.

    `until` is the stream time that the range must reach, as far as known: the out point, the event's end, or now.
    """

    segments: Sequence[SegmentWritten]
    start: Fraction
    end: Fraction
    until: Fraction

    def gaps(self, made: MadeRange, position: int) -> Iterator[Gap]:
        """Yield what a file lacks before and after what it has of the range; the whole range if it has nothing."""
        frame = made.duration / made.frames if made.frames else TOLERANCE
        slack = max(TOLERANCE, min(frame, LONGEST_FRAME))
        first, after = (made.in_point, made.out_point) if made.duration else (self.until, self.until)
        if first - self.start > slack:
            yield Gap(start=self.start, duration=first - self.start, range=position)
        if self.until - after > slack:
            yield Gap(start=after, duration=self.until - after, range=position)


def nothing(span: Span) -> Recorded:
    """Return a range of which nothing was recorded."""
    return Recorded((), span.start, span.end, span.end)


@dataclass(frozen=True, slots=True)
class Footage:
    """The ranges of a clip, in their order; those of which nothing was recorded have no segments."""

    parts: tuple[Recorded, ...]

    @property
    def keys(self) -> frozenset[str]:
        """Return the segments' keys in the store."""
        return frozenset(segment.key for part in self.parts for segment in part.segments)

    @property
    def bytes(self) -> int:
        """Return the size of all segments, of each range."""
        return sum(segment.bytes for part in self.parts for segment in part.segments)

    def without(self, keys: frozenset[str]) -> Footage:
        """Return the ranges without some segments."""
        return Footage(tuple(
            replace(part, segments=[one for one in part.segments if one.key not in keys]) for part in self.parts
        ))  # fmt: skip

    def missing(self, made: Sequence[MadeRange], within: Sequence[Gap]) -> tuple[Gap, ...]:
        """Return all gaps of a file: those `within` what it has of its ranges, and those before and after it."""
        found: list[Gap] = []
        for position, (part, one) in enumerate(zip(self.parts, made, strict=True)):
            inside = (gap for gap in within if gap.range == position)
            found += sorted((*part.gaps(one, position), *inside), key=lambda gap: gap.start)
        return tuple(found)
