"""When an event's log is compacted: each time a segment shows that another ten minutes are over."""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Final

from cachetools import LRUCache

from shared.messages.media import SegmentWritten
from shared.runtime.clock import Clock, to_ns

SLOT_MS: Final = 600_000
# Segments of other sessions and tracks arrive a little later; events are spread, so that a hundred do not come at once.
GRACE_MS: Final = 10_000
SPREAD_MS: Final = 60_000
MOST_EVENTS: Final = 20_000
RETRY: Final = timedelta(seconds=30)


def slot_of(wall_ms: int) -> int:
    """Return the number of the ten-minute slot since the epoch that holds a wall-clock time (ms)."""
    return wall_ms // SLOT_MS


class Slots:
    """The slot that each event was last seen in: a cache, whose loss costs one read of the log per event."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: LRUCache[str, int] = LRUCache(MOST_EVENTS)
        self._retry_ns: LRUCache[str, int] = LRUCache(MOST_EVENTS)

    def is_new(self, segment: SegmentWritten) -> bool:
        """Return whether the segment is the first of a slot, so that the slots before it may be over."""
        pause = self._retry_ns.get(segment.event)
        if pause is not None and self._clock.monotonic_ns() < pause:
            return False
        slot = self._slot(segment)
        seen = self._seen.get(segment.event)
        return seen is None or slot > seen

    def done(self, segment: SegmentWritten) -> None:
        """Record that the slots before the segment's were compacted."""
        self._retry_ns.pop(segment.event, None)
        self._seen[segment.event] = self._slot(segment)

    def failed(self, segment: SegmentWritten) -> None:
        """Start a pause before the event's next try."""
        self._seen.setdefault(segment.event, self._slot(segment) - 1)
        self._retry_ns[segment.event] = self._clock.monotonic_ns() + to_ns(RETRY)

    @staticmethod
    def _slot(segment: SegmentWritten) -> int:
        return slot_of(segment.wall_start_ms - GRACE_MS - zlib.crc32(segment.event.encode()) % SPREAD_MS)
