"""The in-memory index of one event, for playlists: closed hours by their summaries, and the log's tail.

Nothing is pushed to it: each request first updates it by one batched read of the new log messages. So it holds no
subscription that could break, and a new index equals an old one at any time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from cachetools import LRUCache
from nats.js import JetStreamContext

from services.gateway.delivery.index.cache import HourCache
from services.gateway.delivery.index.entries import IndexEntry, entry_of
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.media.timeline import Identity, Span
from shared.messages.media import Track
from shared.messages.recordings import HourSummary, RecordingRecord
from shared.recording.asking import Asking
from shared.recording.hours import IndexDamaged
from shared.recording.log import read_log
from shared.recording.numbering import Numbering, contains
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore

log = get_logger()
FRESH_NS: Final = 200_000_000
RECORD_FRESH_NS: Final = 2_000_000_000
# With the broker away, players are served what is known: one request per RETRY_NS waits this long for the broker.
PATIENCE: Final = timedelta(seconds=1)
RETRY_NS: Final = 3_000_000_000
UNREAD_NS: Final = 2_000_000_000
_VERSIONS: Final = itertools.count()


class IndexChanged(Unavailable):
    """The index was rewritten during a read: refresh and read again."""


class LiveIndex:
    """One event's index. Call `refresh` before reading; reads see one consistent state between two awaits."""

    def __init__(
        self,
        js: Callable[[], JetStreamContext],
        cache: HourCache,
        clock: Clock,
        account: str,
        event: str,
        asking: Asking | None = None,
    ) -> None:
        self.account = account
        self.event = event
        self.hours: tuple[HourSummary, ...] = ()
        self.tail: list[IndexEntry] = []
        self.version = next(_VERSIONS)
        self.expired_hours = 0
        self._js = js
        self._cache = cache
        self._clock = clock
        self._asking = asking
        self._unread: dict[str, int] = {}  # hours that could not be read, and when to retry (ns)
        self._records = Bucket(js, buckets.RECORDINGS, RecordingRecord)
        self._record: RecordingRecord | None = None
        self._numbering = Numbering()
        self._read_to = 0
        self._refreshed_ns: int | None = None
        self._record_ns: int | None = None
        self._failed_ns: int | None = None
        self._longest_ms = 0
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Read what is new; Unavailable when the broker does not answer and nothing is known yet."""
        async with self._lock:
            now = self._clock.monotonic_ns()
            if self._refreshed_ns is not None and now - self._refreshed_ns < FRESH_NS:
                return
            if self._failed_ns is not None and now - self._failed_ns < RETRY_NS:
                return
            try:
                async with asyncio.timeout(None if self._refreshed_ns is None else PATIENCE.total_seconds()):
                    if self._record_ns is None or now - self._record_ns >= RECORD_FRESH_NS:
                        await self._read_record()
                        self._record_ns = now
                    await self._read_tail()
            except (Unavailable, TimeoutError) as error:
                if self._refreshed_ns is None:
                    raise
                self._failed_ns = now
                log.warning("recording.index.stale", event_id=self.event, error=str(error))
            else:
                self._refreshed_ns, self._failed_ns = now, None

    async def _read_record(self) -> None:
        stored = await self._records.get(f"{self.account}.{self.event}")
        record = stored.value if stored else None
        if record == self._record:
            return
        if record is None:  # all of it has expired; if the event starts anew, so do its numbers
            self._numbering, self._read_to = Numbering(), 0
            self._record, self.hours, self.tail = None, (), []
            self.version = next(_VERSIONS)
            return
        if record.log_sequence > self._read_to:
            self._numbering = Numbering(record.last, record.hours)
            self._read_to = record.log_sequence
            self.tail = []
        else:
            self._numbering.adopt(record.hours)
            self._numbering.forget(_identity(e) for e in self.tail if e.log <= record.log_sequence)
            self.tail = [entry for entry in self.tail if entry.log > record.log_sequence]
        self._record = record
        self.hours = tuple(sorted(record.hours, key=lambda hour: hour.hour))
        self.expired_hours = record.expired_hours + len(record.expiring)
        self._longest_ms = max(self._longest_ms, record.longest_ms)
        self.version = next(_VERSIONS)

    async def _read_tail(self) -> None:
        gained = await read_log(self._js(), self.account, self.event, after=self._read_to)
        for logged in gained:
            self._read_to = logged.log
            indexed = self._numbering.add(logged)
            if indexed is not None:
                entry = entry_of(indexed)
                self._longest_ms = max(self._longest_ms, entry.duration_ms)
                self._put(entry)
                self.version = next(_VERSIONS)

    def _put(self, entry: IndexEntry) -> None:
        """Add an entry, or replace the same segment that was salvaged short: then its number is an old one."""
        if entry.number is not None and (newest := self.newest(entry.track)) and entry.number > (newest.number or 0):
            self.tail.append(entry)
            return
        at = next((at for at, known in enumerate(self.tail) if _identity(known) == _identity(entry)), None)
        if at is None:
            self.tail.append(entry)
        else:
            self.tail[at] = entry

    @property
    def longest_ms(self) -> int:
        """Duration of the longest segment that the recording ever had, ms."""
        return self._longest_ms

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that have segments."""
        found = {entry.track for entry in self.tail}
        found.update(last.segment.track for last in (self._record.last if self._record else ()))
        return tuple(sorted(found))

    def newest(self, track: Track) -> IndexEntry | None:
        """Return the track's newest numbered segment, even when it has expired."""
        for entry in reversed(self.tail):
            if entry.track == track and entry.number is not None:
                return entry
        last = self._record.last if self._record else ()
        return next((entry_of(indexed) for indexed in last if indexed.segment.track == track), None)

    async def latest(self, track: Track, window_ms: int, least: int) -> list[IndexEntry]:
        """Return the newest numbered segments: `window_ms` of them and at least `least`, oldest first."""
        found: list[IndexEntry] = []
        total = 0
        for entry in reversed(await self.numbered(track, least=least, window_ms=window_ms)):
            if (total >= window_ms and len(found) >= least) or (found and entry.number != _before(found[-1])):
                break
            found.append(entry)
            total += entry.duration_ms
        return found[::-1]

    async def numbered(self, track: Track, *, least: int = 0, window_ms: int | None = None) -> list[IndexEntry]:
        """Return the numbered segments in the order of their numbers: all, or enough for a window of the newest."""
        entries = [entry for entry in self.tail if entry.track == track]
        hours = self.hours
        if window_ms is not None:
            enough = len(entries) > least and sum(entry.duration_ms for entry in entries[:-1]) >= window_ms
            hours = () if enough else hours[-3:]
        for hour in hours:
            entries += [entry for entry in await self.hour(hour) if entry.track == track]
        return sorted((entry for entry in entries if entry.number is not None), key=_number)

    async def hour(self, summary: HourSummary) -> tuple[IndexEntry, ...]:
        """Read a closed hour; IndexChanged when it has been rewritten or has expired meanwhile.

        Empty while its object is broken or lost: the archiver is asked to rebuild it.
        """
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._unread.get(summary.key, now_ns):
            return ()
        try:
            entries = await self._cache.get(summary)
        except IndexDamaged as error:
            return await self._missed(summary, str(error))
        if entries is not None:
            self._unread.pop(summary.key, None)
            return entries
        async with self._lock:
            await self._read_record()
        if any(hour.key == summary.key for hour in self.hours):
            return await self._missed(summary, "its object is gone")
        raise IndexChanged("the recording's index has changed")

    async def _missed(self, summary: HourSummary, error: str) -> tuple[IndexEntry, ...]:
        if summary.key not in self._unread:
            log.error("recording.hour.damaged", key=summary.key, error=error)
        self._unread[summary.key] = self._clock.monotonic_ns() + UNREAD_NS
        if self._asking is not None:
            await self._asking.ask(self.account, self.event, summary)
        return ()

    async def between(self, track: Track, start_ms: int, end_ms: int) -> list[IndexEntry]:
        """Return all segments of a range by wall clock (ms), late ones too, each once, in the order of stream time."""
        hours = [hour for hour in self.hours if hour.wall_start_ms < end_ms and hour.wall_end_ms > start_ms]
        return [e for e in await self._of(track, hours) if e.wall_start_ms < end_ms and e.wall_end_ms > start_ms]

    async def within(self, track: Track, span: Span) -> list[IndexEntry]:
        """Return all segments of a part of stream time, late ones too, each once, in its order."""
        hours = [h for h in self.hours if h.stream_start_ms <= span.end * 1000 and h.stream_end_ms >= span.start * 1000]
        return [e for e in await self._of(track, hours) if e.overlaps(span)]

    async def _of(self, track: Track, hours: Sequence[HourSummary]) -> list[IndexEntry]:
        found: dict[Identity, IndexEntry] = {}
        for hour in hours:
            found.update((_identity(entry), entry) for entry in await self.hour(hour))
        found.update((_identity(entry), entry) for entry in self.tail)
        return sorted((entry for entry in found.values() if entry.track == track), key=_stream_order)

    async def has(self, session: str, track: Track, sequence: int | None) -> bool:
        """Return whether a segment is in the index; with `sequence` None, whether any of the session's is."""
        for entry in self.tail:
            if entry.session == session and entry.track == track and sequence in {None, entry.sequence}:
                return True
        for hour in self.hours:
            if hour.runs is None:
                entries = await self.hour(hour)
                if any(e.session == session and e.track == track and sequence in {None, e.sequence} for e in entries):
                    return True
            elif any(
                run.session == session and run.track == track
                if sequence is None
                else contains(run, Identity(session, track, sequence))
                for run in hour.runs
            ):
                return True
        return False


def _number(entry: IndexEntry) -> int:
    return entry.number or 0


def _before(entry: IndexEntry) -> int:
    return _number(entry) - 1


def _identity(entry: IndexEntry) -> Identity:
    return Identity(entry.session, entry.track, entry.sequence)


def _stream_order(entry: IndexEntry) -> tuple[int, int]:
    return entry.origin_ms + entry.start * 1000 // entry.timescale, entry.log


class Shelf:
    """The indexes of the most recently requested events."""

    def __init__(
        self,
        js: Callable[[], JetStreamContext],
        store: MediaStore,
        clock: Clock,
        *,
        most: int = 256,
        asking: Asking | None = None,
    ) -> None:
        self._js = js
        self._asking = asking
        self._clock = clock
        self._cache = HourCache(store)
        self._indexes: LRUCache[tuple[str, str], LiveIndex] = LRUCache(most)

    async def index(self, account: str, event: str) -> LiveIndex:
        """Return an event's index, up to date."""
        key = (account, event)
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = LiveIndex(self._js, self._cache, self._clock, account, event, self._asking)
        await index.refresh()
        return index
