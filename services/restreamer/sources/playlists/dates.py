"""The wall clock of a playlist (EXT-X-PROGRAM-DATE-TIME, RFC 8216, 4.3.2.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.restreamer.model import FLICKS
from services.restreamer.sources.playlists.runs import Runs

MS: Final = FLICKS // 1000
ROUNDED: Final = FLICKS // 2
"""How much longer than its stated duration a segment may be: durations may be rounded to whole seconds."""


class Dates:
    """The wall clock of a playlist: a date is that of its segment's first picture.

    From there the wall clock runs at real speed, at most to the next date. `exact` returns when the first picture of
    a segment is shown, which the durations of earlier segments do not tell exactly.
    """

    def __init__(self, runs: Runs, exact: Callable[[int], int]) -> None:
        self._runs, self._exact = runs, exact
        self._dated = [(s.wall_ms, number) for number, s in enumerate(runs.segments) if s.wall_ms is not None]

    @property
    def start_ms(self) -> int | None:
        """The wall clock of the playlist's zero, ms; None without dates."""
        if not self._dated:
            return None
        wall_ms, number = self._dated[0]
        return wall_ms - self._runs.segments[number].start // MS

    def time(self, wall_ms: int, *, out: bool) -> int:
        """Return the time of a wall-clock moment; in a hole the first time after it or, with `out`, the last before."""
        before = max((n for n, (dated, _) in enumerate(self._dated) if dated <= wall_ms), default=0)
        dated, number = self._dated[before]
        at = self._exact(number) + (wall_ms - dated) * MS
        segment = self._runs.segments[number]
        if self._runs.index(at) > number:
            self._exact(self._runs.index(at))  # learns how long the file is, and where to enter it
        if before + 1 == len(self._dated):
            return at
        following = self._dated[before + 1][1]
        end = self._end(following - 1)
        if at < end - ROUNDED:
            return at
        if self._runs.segments[following].run == segment.run:
            return min(at, self._exact(following))
        begin = self._runs.time(self._runs.segments[following])
        if out and not self._runs.is_joined(following):
            begin = max(begin, end + ROUNDED)
        return min(at, begin)

    def _end(self, number: int) -> int:
        return self._exact(number) + self._runs.segments[number].duration
