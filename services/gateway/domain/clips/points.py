"""Where a clip begins and ends, and what it lacks, by the stream time of the activation that each range is of."""

from __future__ import annotations

from fractions import Fraction

from shared.messages.clips import ClipCreate, ClipFile
from shared.messages.ranges import Gap


def points_of(request: ClipCreate, file: ClipFile) -> tuple[Fraction, Fraction]:
    """Return the in point of the first range that a file has something of, and the out point of the last one, s."""
    made = [position for position, one in enumerate(file.ranges) if one.duration] or [0]
    parts = request.parts
    return file.in_point - parts[made[0]].zero, file.out_point - parts[made[-1]].zero


def gap_start(request: ClipCreate, gap: Gap) -> Fraction:
    """Return where a gap begins, s."""
    return gap.start - request.parts[gap.range].zero
