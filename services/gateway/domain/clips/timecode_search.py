"""Looking for timecodes in a recording: from the newest hour back, until what is asked for is found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache
from nats.js import JetStreamContext

from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.media.timecode import Label
from shared.media.timecode_line import Found, NoSuchTimecode, Run, Stretch, find, joined, runs_of, stretches_of
from shared.media.timeline import Timeline
from shared.messages.media import SegmentWritten, Track
from shared.messages.recordings import HourSummary, RecordingRecord
from shared.recording.hours import IndexDamaged, load_hour
from shared.recording.log import read_log
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore, ObjectMissing

log = get_logger()
TRACK: Final[Track] = "primary-1"
REMEMBERED: Final = 200_000
"""So many stretches of closed hours are kept; usually an hour is one."""
MOST_OF_AN_HOUR: Final = 5_000
MOST: Final = 10_000
"""Timecodes that jump all the time are looked for in about so many stretches only, the newest."""


class NoTimecodes(NoSuchTimecode):
    """Nothing in the recording has a timecode."""


class TimecodeIndex:
    """Reads the timecodes of recordings; those of closed hours are kept, because their objects never change."""

    def __init__(self, js: Callable[[], JetStreamContext], store: MediaStore) -> None:
        self._js = js
        self._store = store
        self._records = Bucket(js, buckets.RECORDINGS, RecordingRecord)
        self._hours: LRUCache[str, tuple[Stretch, ...]] = LRUCache(REMEMBERED, _weight)

    async def open(self, account: str, event: str) -> TimecodeSearch:
        """Read what is not in closed hours; Unavailable when the broker does not answer."""
        stored = await self._records.get(f"{account}.{event}")
        record = stored.value if stored else None
        tail = await read_log(self._js(), account, event, after=record.log_sequence if record else 0)
        newest = await asyncio.to_thread(_stretches, [logged.segment for logged in tail])
        hours = sorted(record.hours if record else (), key=lambda hour: hour.stream_start_ms)
        return TimecodeSearch(self._hour, hours, [newest])

    async def _hour(self, hour: HourSummary) -> tuple[Stretch, ...]:
        """Return an hour's stretches; ObjectMissing or IndexDamaged."""
        found = self._hours.get(hour.key)
        if found is None:
            found = await asyncio.to_thread(self._read, hour)
            self._hours[hour.key] = found
        return found

    def _read(self, hour: HourSummary) -> tuple[Stretch, ...]:
        return tuple(_stretches([indexed.segment for indexed in load_hour(self._store, hour).segments]))


@dataclass(slots=True)
class TimecodeSearch:
    """One recording's timecodes, read as far back as was needed so far."""

    read: Callable[[HourSummary], Awaitable[tuple[Stretch, ...]]]
    hours: list[HourSummary]
    parts: list[list[Stretch]]
    unread: bool = False
    _runs: list[Run] | None = None
    _back: int = 1

    async def find(self, start: Label | None, end: Label | None, *, wait: bool) -> Found:
        """Find a range or one of its ends; NoTimecodes, NoSuchTimecode.

        Unavailable when an hour that might have it cannot be read at the moment.
        """
        while True:
            if self._runs is None:
                self._runs = await asyncio.to_thread(lambda: runs_of(joined(self.parts)))
            try:
                found = await asyncio.to_thread(find, self._runs, start, end, wait=wait)
            except NoSuchTimecode:
                if not self.hours and not self.unread:
                    if self._runs:
                        raise
                    break
            else:
                if found.sure or not self.hours:
                    return found
            if not self.hours:
                raise Unavailable("the recording's index is being rebuilt")
            await self._go_back()
        raise NoTimecodes("the stream has no timecodes", "end" if start is None else "start")

    async def _go_back(self) -> None:
        """Read further hours, each time twice as many."""
        for _ in range(min(self._back, len(self.hours))):
            hour = self.hours.pop()
            try:
                self.parts.append(list(await self.read(hour)))
            except (IndexDamaged, ObjectMissing) as error:  # rewritten, expired, or being rebuilt
                log.warning("recording.timecodes.unread", key=hour.key, error=str(error))
                self.unread = True
            if sum(map(len, self.parts)) > MOST:
                self.hours.clear()
                break
        self._runs, self._back = None, 2 * self._back


def _stretches(segments: list[SegmentWritten]) -> list[Stretch]:
    """Return the stretches of the primary track among segments; of labels that jump all the time, the newest."""
    placed = Timeline(segment for segment in segments if segment.track == TRACK).placed
    jumps, first = 0, len(placed)
    while first and jumps < MOST_OF_AN_HOUR:
        first -= 1
        told = placed[first].segment.timecodes
        jumps += len(told.marks) - 1 if told is not None else 0
    return stretches_of(placed[first:])[-MOST_OF_AN_HOUR:]


def _weight(stretches: tuple[Stretch, ...]) -> int:
    return len(stretches) + 1
