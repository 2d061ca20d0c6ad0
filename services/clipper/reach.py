"""How far beyond its in and out points a clip's segments go: back to where a decoder can enter. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from shared.media.timeline import Placed, Span, Timeline, joins
from shared.messages.media import SegmentWritten

# Packets of sound before the in point are in the segment before it; pictures around both points refer to others.
MARGIN: Final = Fraction(3)
# Segments end without a keyframe when an encoder sends none for long: no further than this is one looked for.
FURTHEST: Final = Fraction(600)


def entry(timeline: Timeline, moment: Fraction) -> Placed | None:
    """Find the segment with which decoding must begin for what is shown at `moment`, or after it.

    None when it lies before the timeline's first segment.
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
