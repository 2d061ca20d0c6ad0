"""Resolve ranges to times in a file."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from services.restreamer.model import FLICKS, Media, SourceError
from shared.messages.restreams import Range


@runtime_checkable
class Dated(Protocol):
    """A media whose wall clock does not run like its own clock: it has gaps, or drifts."""

    def from_wall(self, wall_ms: int, *, out: bool) -> int:
        """Return the time of a wall-clock moment, as far as is known; after a seam more may be known.

        For a moment in a gap: any time in it, or the first time after it (with `out`, the last before it). The first
        call for a moment reads the data that it needs, and may raise SourceError.
        """
        ...


def resolve_range(media: Media, wanted: Range) -> tuple[int, int | None]:
    """Return a range as flicks from the file's zero, [start, end), possibly outside it; end None: to its end.

    Raise SourceError when the range is on the wall clock, which the file does not have.
    """
    if wanted.clock == "file":
        return wanted.start, wanted.end
    start = from_wall(media, wanted.start, out=False)
    if wanted.end is None:
        return max(start, 0), None
    end = from_wall(media, wanted.end, out=False)
    return max(start, 0), end if end <= start else from_wall(media, wanted.end, out=True)


def from_wall(media: Media, wall_ms: int, *, out: bool) -> int:
    """Return the time of a wall-clock moment, as in Dated. Raise SourceError."""
    if media.wall_start_ms is None:
        raise SourceError("the file does not tell its wall clock, which its ranges need")
    if isinstance(media, Dated):
        return media.from_wall(wall_ms, out=out)
    return (wall_ms - media.wall_start_ms) * FLICKS // 1000
