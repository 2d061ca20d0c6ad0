"""The order of play: items, their ranges, and loops over the list."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from services.restreamer.model import FLICKS, Media
from services.restreamer.sources.ranges import resolve_range
from shared.messages.restreams import Item, Move, PlaylistCursor, RestreamSpec

TOLERANCE = FLICKS // 2000
"""A picture counts as at or after a point when it is less than this before it: points are rounded, too."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """A part of a file, in flicks from its start; `end` is the first moment outside, None where the file ends."""

    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Programme:
    """A list as an order of positions; `loops` 0 never ends. The first loop starts with item `first`."""

    items: tuple[Item, ...]
    loops: int = 0
    first: int = 0

    @classmethod
    def of(cls, spec: RestreamSpec) -> Self:
        """Return the programme of a restream's list."""
        return cls(spec.items, spec.loops, min(spec.first, len(spec.items) - 1))

    def begin(self) -> PlaylistCursor:
        """Return the first position."""
        return PlaylistCursor(item=self.first)

    def known(self, cursor: PlaylistCursor | None) -> PlaylistCursor:
        """Return `cursor` where this list has it, otherwise the list's beginning."""
        if cursor is None or cursor.item >= len(self.items) or (self.loops and cursor.loop >= self.loops):
            return self.begin()
        return cursor if cursor.range < self._ranges(cursor) else PlaylistCursor(item=cursor.item, loop=cursor.loop)

    def after(self, cursor: PlaylistCursor) -> PlaylistCursor | None:
        """Return the position that follows a range's end; None after the last."""
        if cursor.range + 1 < self._ranges(cursor):
            return PlaylistCursor(item=cursor.item, range=cursor.range + 1, loop=cursor.loop)
        return self.after_item(cursor)

    def after_item(self, cursor: PlaylistCursor) -> PlaylistCursor | None:
        """Return the position that follows an item's end; None after the last."""
        if cursor.item + 1 < len(self.items):
            return PlaylistCursor(item=cursor.item + 1, loop=cursor.loop)
        if self.loops and cursor.loop + 1 >= self.loops:
            return None
        return PlaylistCursor(loop=cursor.loop + 1)

    def moved(self, cursor: PlaylistCursor, move: Move) -> PlaylistCursor | None:
        """Return the position that a move at `cursor` leads to; None past the end, ValueError for an unknown item."""
        if move.item < 0:
            return self.after_item(cursor)
        if move.item >= len(self.items):
            raise ValueError(f"the list has no item {move.item}")
        return PlaylistCursor(item=move.item, loop=cursor.loop, at=move.at)

    def _ranges(self, cursor: PlaylistCursor) -> int:
        return max(len(self.items[cursor.item].ranges), 1)


def spans_of(item: Item, media: Media) -> list[FileRange]:
    """Find an item's ranges in its file. SourceError when they are on the wall clock and the file has none."""
    if not item.ranges:
        return [FileRange(0, None)]
    return [FileRange(*resolve_range(media, part)) for part in item.ranges]


def locate(spans: Sequence[FileRange], cursor: PlaylistCursor, duration: int | None) -> tuple[int, FileRange] | None:
    """Find the range to play at `cursor`, starting where it says; None when nothing of the file is left to play."""
    if not spans:
        return None
    limits = [_end(span, duration) for span in spans]
    first = min(cursor.range, len(spans) - 1)
    order = list(range(first, len(spans)))
    if cursor.at and not cursor.range:  # a seek names no range: take the one that holds it
        inside = (number for number in order if spans[number].start <= cursor.at and _within(cursor.at, limits[number]))
        order = list(range(next(inside, first), len(spans)))
    for number in order:
        wanted = cursor.at if number == order[0] else 0
        start = max(spans[number].start, wanted)
        if _within(start, limits[number]):
            return number, FileRange(start, spans[number].end)
    return None


def nothing_there(spans: Sequence[FileRange], media: Media) -> str:
    """Return how all ranges miss a file, with its times as wall clock where it has that."""
    one = len(spans) == 1
    ranges = "the range lies" if one else "all ranges lie"
    thing = "file" if media.wall_start_ms is None else "recording"
    if all(span.end is not None and span.end <= 0 for span in spans):
        return f"{ranges} before the {thing} begins ({_moment(media, 0)})"
    if media.duration is None:
        return f"{ranges} outside the {thing}"
    if all(span.start >= media.duration - TOLERANCE for span in spans):
        return f"{ranges} after the {thing}'s end ({_moment(media, media.duration)})"
    return f"{ranges} outside the {thing} ({_moment(media, 0)} to {_moment(media, media.duration)})"


def _moment(media: Media, at: int) -> str:
    """Format a moment of a file for people; the file's wall clock may be no valid date."""
    if media.wall_start_ms is not None:
        with contextlib.suppress(ValueError, OverflowError, OSError):
            seconds = media.wall_start_ms // 1000 + at // FLICKS
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{at / FLICKS:.3f}".rstrip("0").rstrip(".") + " s"


def _end(span: FileRange, duration: int | None) -> int | None:
    ends = [end for end in (span.end, duration) if end is not None]
    return min(ends) if ends else None


def _within(at: int, end: int | None) -> bool:
    return end is None or at < end - TOLERANCE
