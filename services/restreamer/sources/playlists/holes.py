"""Missing segments of a playlist: how many are tolerated, and how they are reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from services.restreamer.model import SourceError
from services.restreamer.sources.playlists.joined import name_of
from services.restreamer.sources.playlists.playlist import Segment

MOST_REFUSED: Final = 10
MOST_SILENT: Final = 3
MOST_TOLD: Final = 20


class Holes:
    """Counts segments that are left out. Too many in a row are an error of the playlist."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._refused = self._silent = self._told = 0
        self.last: SourceError | None = None

    @property
    def hurried(self) -> bool:
        """Whether the previous segment already timed out, so that this one gets only a short wait."""
        return self._silent > 0

    def add(self, segments: Sequence[Segment], first: int, count: int, error: SourceError, *, init: bool) -> None:
        """Report segments that are left out; raise SourceError when too many in a row are."""
        begin = segments[first]
        names = name_of(begin.first.uri if init and begin.first is not None else begin.bytes.uri)
        which = f"segment {first + 1}" if count == 1 else f"segments {first + 1} to {first + count}"
        text = f"{which} of the playlist ({names}): {error}"
        self.last = SourceError(text, lasting=error.lasting)
        self._refused += error.lasting
        self._silent += not error.lasting
        if self._refused > MOST_REFUSED or self._silent >= MOST_SILENT:
            raise self.last
        self._told += 1
        if self._told <= MOST_TOLD:
            self._tell(f"{text}; it is left out" if count == 1 else f"{text}; they are left out")

    def none(self) -> None:
        """Record that a segment was read."""
        self._refused = self._silent = 0
