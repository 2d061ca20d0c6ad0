"""Which part of a recording a clip may need, by the wall clock. Pure."""

from __future__ import annotations

from typing import Final

from shared.messages.clips import ClipCreate

# A cut starts at the keyframe before the in point, which the clipper looks for in the ten minutes before it.
BEFORE_MS: Final = 600_000
# The longest segment, plus the most by which the clocks of encoder and machine may differ.
BEHIND_MS: Final = 60_000
ALL_MS: Final = 1 << 52


def needed(request: ClipCreate, zero_ms: int) -> tuple[int, int]:
    """Return start and end (ms) of what a clip may need, from the keyframe before it.

    `zero_ms` is when the event's first frame arrived: stream time counts from there. Until the range of a clip that was
    ordered with its job is known, it may need everything.
    """
    if request.after_live is not None:
        return 0, ALL_MS
    zero_ms = 0 if request.selection.clock == "wall" else zero_ms
    start, end = (zero_ms + int(point * 1000) for point in (request.selection.start, request.selection.end))
    return start - BEFORE_MS, end + BEHIND_MS
