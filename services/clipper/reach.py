"""Finds the segments that a clip needs beyond its in and out points: back to an entry. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from shared.media.timeline import Placed, Span, Timeline, joins
from shared.messages.media import SegmentWritten

# Sound packets before the in point lie in the segment before it; pictures around both points refer to others. In s.
MARGIN: Final = Fraction(3)
# How far back a keyframe is looked for, s: segments have none when an encoder sends none for long.
FURTHEST: Final = Fraction(600)


def entry(timeline: Timeline, moment: Fraction) -> Placed | None:
    """Find the segment at which decoding must begin to show the picture at `moment`, or the first one after it.

    None when that segment lies before the timeline's first one.
    """
    placed = timeline.placed
    first = next((at for at, p in enumerate(placed) if p.end > moment), None)
    if first is None:
        return placed[-1] if placed else None
    for at in range(first, -1, -1):
        if _has_keyframe(placed[at].segment, moment) or placed[at].segment.sequence == 0:
            return placed[at]
        if at and not joins(placed[at - 1].segment, placed[at].segment):
            return placed[at]
    return None


def near(timeline: Timeline, span: Span) -> tuple[SegmentWritten, ...]:
    """Return the segments that a cut of `span` may need."""
    start = span.start - MARGIN
    if first := entry(timeline, span.start):
        start = min(start, first.start)
    return tuple(p.segment for p in timeline.overlapping(Span(start, span.end + MARGIN)))


def _has_keyframe(segment: SegmentWritten, moment: Fraction) -> bool:
    origin = Fraction(segment.origin_ms, 1000)
    return any(origin + Fraction(tick - segment.zero, segment.timescale) <= moment for tick in segment.keyframes)
