"""A cache of the entries of closed hours: the most recently used are in memory."""

from __future__ import annotations

import asyncio
from typing import Final

from cachetools import LRUCache

from services.gateway.delivery.index.entries import IndexEntry, entry_of
from shared.messages.recordings import HourSummary
from shared.recording.hours import load_hour
from shared.store.base import MediaStore, ObjectMissing

MOST_SEGMENTS: Final = 120_000


class HourCache:
    """Reads hours through the cache; an index object never changes under its key."""

    def __init__(self, store: MediaStore, *, most_segments: int = MOST_SEGMENTS) -> None:
        self._store = store
        # an hour that is larger than the limit is kept, too, as the only one
        self._hours: LRUCache[str, tuple[IndexEntry, ...]] = LRUCache(
            most_segments, lambda entries: min(len(entries), most_segments)
        )
        self._reading: dict[str, asyncio.Task[tuple[IndexEntry, ...] | None]] = {}

    async def get(self, summary: HourSummary) -> tuple[IndexEntry, ...] | None:
        """Return an hour's entries; None when its object is gone. Raise IndexDamaged when it is broken."""
        known = self._hours.get(summary.key)
        if known is not None:
            return known
        task = self._reading.get(summary.key)
        if task is None:  # many players ask for the same hour at once: one read serves all
            task = self._reading[summary.key] = asyncio.create_task(self._read(summary))
            task.add_done_callback(lambda _: self._reading.pop(summary.key, None))
        return await asyncio.shield(task)

    async def _read(self, summary: HourSummary) -> tuple[IndexEntry, ...] | None:
        try:
            entries = await asyncio.to_thread(self._entries, summary)
        except ObjectMissing:
            return None
        self._hours[summary.key] = entries
        return entries

    def _entries(self, summary: HourSummary) -> tuple[IndexEntry, ...]:
        return tuple(entry_of(indexed) for indexed in load_hour(self._store, summary).segments)
