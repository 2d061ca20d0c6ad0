"""Which spans of wall clock a recording covers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cachetools import LRUCache

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.index.live import IndexChanged, LiveIndex
from shared.messages.media import Track
from shared.messages.recordings import HourSummary

Span = tuple[int, int]
HOLE_MS: Final = 500
"""Holes up to this long are the jitter of clocks; ranges are told in whole seconds anyway."""
MOST_HOURS: Final = 20_000
TRIES: Final = 3


class Coverage:
    """Spans of recordings. Those of a closed hour are remembered: its object never changes under its key."""

    def __init__(self) -> None:
        self._hours: LRUCache[str, dict[Track, tuple[Span, ...]]] = LRUCache(MOST_HOURS)

    async def spans(self, index: LiveIndex, from_ms: int, to_ms: int) -> list[Span]:
        """Return what of a range was recorded, in ms, in order; of the tracks that players are given."""
        for _ in range(TRIES):
            try:
                return await self._spans(index, from_ms, to_ms)
            except IndexChanged:
                continue
        raise IndexChanged("the recording's index keeps changing")

    async def _spans(self, index: LiveIndex, from_ms: int, to_ms: int) -> list[Span]:
        tracks = shown_tracks(index)
        found: list[Span] = []
        for hour in index.hours:
            if hour.wall_start_ms < to_ms and hour.wall_end_ms > from_ms:
                known = await self._of(index, hour)
                found += [span for track in tracks for span in known.get(track, ())]
        found += [(e.wall_start_ms, e.wall_end_ms) for e in index.tail if e.track in tracks]
        return [(max(a, from_ms), min(b, to_ms)) for a, b in merged(found) if a < to_ms and b > from_ms]

    async def _of(self, index: LiveIndex, hour: HourSummary) -> dict[Track, tuple[Span, ...]]:
        known = self._hours.get(hour.key)
        if known is None:
            entries = await index.hour(hour)
            known = {track: tuple(merged(_walls(entries, track))) for track in {entry.track for entry in entries}}
            if entries:
                self._hours[hour.key] = known
        return known


def shown_tracks(index: LiveIndex) -> tuple[Track, ...]:
    """Return the tracks that players are given: the primary's, if there is any of it."""
    return tuple(track for track in index.tracks if track.startswith("primary")) or index.tracks


def _walls(entries: Iterable[IndexEntry], track: Track) -> list[Span]:
    return [(entry.wall_start_ms, entry.wall_end_ms) for entry in entries if entry.track == track]


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, with those that overlap, or almost meet, as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= HOLE_MS:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
