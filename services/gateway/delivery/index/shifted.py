"""The segments that a live playlist showed at an earlier time."""

from __future__ import annotations

from typing import Final

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.index.live import LiveIndex
from shared.messages.media import Track

MOST_HOURS: Final = 3
"""Hours before the one with the edge that are read to find segments; a window of more hours reads those it needs."""


async def shifted(index: LiveIndex, track: Track, edge_ms: int, window_ms: int, least: int) -> list[IndexEntry]:
    """Return the numbered segments that ended by `edge_ms` (wall clock): `window_ms` of them and at least `least`.

    Later edges give the same segments without the oldest and with the next, so that a playlist of them slides.
    """
    found = _ended([entry for entry in index.tail if entry.track == track], edge_ms)
    read = 0
    for hour in sorted(index.hours, key=lambda one: -one.wall_start_ms):
        enough = len(found) > least and sum(entry.duration_ms for entry in found[1:]) >= window_ms
        if enough or (read >= MOST_HOURS and hour.wall_end_ms <= edge_ms - window_ms):
            break
        if hour.wall_start_ms >= edge_ms:
            continue
        found = _ended([entry for entry in await index.hour(hour) if entry.track == track], edge_ms) + found
        read += 1
    found.sort(key=lambda entry: entry.number or 0)
    return _window(found, window_ms, least)


def _ended(entries: list[IndexEntry], edge_ms: int) -> list[IndexEntry]:
    return [entry for entry in entries if entry.number is not None and entry.wall_end_ms <= edge_ms]


def _window(entries: list[IndexEntry], window_ms: int, least: int) -> list[IndexEntry]:
    """Return the newest entries whose numbers follow each other: a part in the middle may have been deleted."""
    found: list[IndexEntry] = []
    total = 0
    for entry in reversed(entries):
        gone = found and entry.number != (found[-1].number or 0) - 1
        if gone or (total >= window_ms and len(found) >= least):
            break
        found.append(entry)
        total += entry.duration_ms
    return found[::-1]
