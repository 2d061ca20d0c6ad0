"""Which part of a file a range is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from services.restreamer.model import FLICKS, Media, SourceError
from shared.messages.restreams import Range


@runtime_checkable
class Dated(Protocol):
    """A media whose wall clock does not run as its own does: it has gaps, or drifts."""

    def from_wall(self, wall_ms: int) -> int:
        """Return the time of a wall-clock moment."""
        ...


def resolve_range(media: Media, wanted: Range) -> tuple[int, int | None]:
    """Return a range as flicks from the file's zero, [start, end); end None: the file's.

    What lies outside of the file is left away. SourceError when nothing is left, or the wall clock is not known.
    """
    if wanted.end is not None and wanted.end <= wanted.start:
        raise SourceError("the range ends before it begins")
    if wanted.clock == "file":
        start, end = wanted.start, wanted.end
    else:
        start = _from_wall(media, wanted.start)
        end = None if wanted.end is None else _from_wall(media, wanted.end)
    if media.duration is not None and start >= media.duration:
        raise SourceError(f"the range begins after the file's end: it is {_shown(media.duration)} long")
    if end is not None and end <= 0:
        raise SourceError("the range ends before the file begins")
    return max(start, 0), end


def _from_wall(media: Media, wall_ms: int) -> int:
    if media.wall_start_ms is None:
        raise SourceError("the range is given by the wall clock, which the file does not tell")
    if isinstance(media, Dated):
        return media.from_wall(wall_ms)
    return (wall_ms - media.wall_start_ms) * FLICKS // 1000


def _shown(flicks: int) -> str:
    return f"{flicks / FLICKS:.1f} s"
