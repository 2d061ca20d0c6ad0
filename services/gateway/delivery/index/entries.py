"""Segments as an index in memory holds them: about 500 bytes each, a quarter of the message's size."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction

from shared.media.timeline import Span
from shared.messages.media import IndexedSegment, SegmentWritten, Track


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A segment of the index for playlists. Ticks as in SegmentWritten; `seams` as IndexedSegment.discontinuity.

    `number` is None for a segment that arrived too late for one: it is in ranges, and in no live playlist.
    `independent`: it starts with a keyframe that needs nothing before it.
    """

    log: int
    number: int | None
    seams: int
    session: str
    track: Track
    sequence: int
    key: str
    init_key: str
    start: int
    lead: int
    duration: int
    timescale: int
    origin_ms: int
    wall_start_ms: int
    bytes: int
    discontinuity: bool
    independent: bool

    @property
    def duration_ms(self) -> int:
        """Duration in ms, rounded up."""
        return -(-self.duration * 1000 // self.timescale)

    @property
    def stream(self) -> Span:
        """Its part of stream time, s, as `locate` returns it."""
        start = Fraction(self.origin_ms, 1000) + Fraction(self.start - self.lead, self.timescale)
        return Span(start, start + Fraction(self.duration, self.timescale))

    def overlaps(self, span: Span) -> bool:
        """Return whether it holds some of a part of stream time; in integers, as thousands are asked."""
        start = self.origin_ms * self.timescale + (self.start - self.lead) * 1000
        end, scale = start + self.duration * 1000, 1000 * self.timescale
        (first, per), (last, per_last) = span.start.as_integer_ratio(), span.end.as_integer_ratio()
        return start * per_last < last * scale and end * per > first * scale

    @property
    def wall_end_ms(self) -> int:
        """Wall clock of its end, ms."""
        return self.wall_start_ms + self.duration_ms


def entry_of(indexed: IndexedSegment) -> IndexEntry:
    """Make the entry of an indexed segment; shared strings are interned."""
    segment = indexed.segment
    return IndexEntry(
        log=indexed.log,
        number=indexed.number,
        seams=indexed.discontinuity,
        session=sys.intern(segment.session),
        track=segment.track,
        sequence=segment.sequence,
        key=segment.key,
        init_key=sys.intern(segment.init_key),
        start=segment.start,
        lead=segment.lead,
        duration=segment.duration,
        timescale=segment.timescale,
        origin_ms=segment.origin_ms,
        wall_start_ms=segment.wall_start_ms,
        bytes=segment.bytes,
        discontinuity=segment.discontinuity,
        independent=_is_independent(segment),
    )


def _is_independent(segment: SegmentWritten) -> bool:
    """Return whether it starts with an IDR or IRAP picture, shown within half a second, the most reordering delays."""
    return (
        segment.independent
        and bool(segment.keyframes)
        and (segment.keyframes[0] - segment.start) * 2 <= segment.timescale
    )
