"""Compaction: moves the log's oldest part into hours' index objects, then updates the record.

Order: objects first, under new keys; then the record by compare-and-set, which makes them valid; then the event. After
a kill at any step the next compaction starts from the record and does the same again. Two archivers at once write
objects under different keys, and one record wins (docs/adr/0003-recording-index.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from nats.js import JetStreamContext

from services.archiver.rebuilding import Rebuilder
from services.archiver.records import RecordingRecords
from services.archiver.slots import slot_of
from shared.broker.bus import Outbox
from shared.broker.kv import Conflict, Stored
from shared.media.timeline import identity
from shared.messages.media import HourClosed, IndexedSegment, SegmentWritten
from shared.messages.recordings import HourSummary, RecordingRecord
from shared.recording.hours import IndexDamaged, carry_over, hour_of, is_whole_of, load_hour, make_hour, save_hour
from shared.recording.log import Logged, read_log
from shared.recording.numbering import Numbering, contains
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore, ObjectMissing

log = get_logger()
MOST: Final = 20_000
ROUNDS: Final = 50


class Compactor:
    """Moves segments from the log into index objects; keeps nothing between calls."""

    def __init__(
        self,
        js: Callable[[], JetStreamContext],
        store: MediaStore,
        records: RecordingRecords,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._js = js
        self._store = store
        self._records = records
        self._outbox = outbox
        self._clock = clock
        self.rebuilder = Rebuilder(js, store, records, clock)

    async def compact(self, account: str, event: str, *, everything: bool = False) -> None:
        """Compact the event's slots that are over, or everything, and announce hours that are over.

        Unavailable when broker or store does not answer, Conflict when the record keeps changing.
        """
        missed: int | None = None
        lost: frozenset[str] = frozenset()
        for _ in range(ROUNDS):
            stored = await self._records.recording(account, event)
            record = stored.value if stored else RecordingRecord(account=account, event=event, changed_ms=0)
            tail = await read_log(self._js(), account, event, after=record.log_sequence, most=MOST)
            ripe = list(tail) if everything else ripe_part(tail)
            if not ripe and len(tail) == MOST:
                ripe = tail
            if not ripe:
                if stored is not None:
                    try:
                        await self._announce(stored, {hour_of(logged.segment.wall_start_ms) for logged in tail})
                    except Conflict:  # as below
                        continue
                return
            revision = stored.revision if stored else 0
            try:
                updated = await asyncio.to_thread(self._closed, record, ripe, lost)
                await self._records.write(stored, updated)
            except Conflict:  # another archiver was here first
                continue
            except ObjectMissing:  # replaced by another archiver, unless the record still lists it
                if missed == revision:
                    lost = await self._rebuild(record, ripe)
                missed = revision
                continue
            except IndexDamaged:
                lost = await self._rebuild(record, ripe)
                continue
            log.info("recording.compacted", event_id=event, segments=len(ripe), log_sequence=updated.log_sequence)
        raise Conflict(f"the recording of {event} keeps changing")

    def _closed(self, record: RecordingRecord, ripe: Sequence[Logged], lost: frozenset[str]) -> RecordingRecord:
        """Write the objects of the hours that `ripe` touches, and return the record that lists them. Blocks.

        ObjectMissing or IndexDamaged when a listed object cannot be read and is not among those `lost` for now.
        """
        numbering = Numbering(record.last, record.hours)
        gained: dict[int, list[IndexedSegment]] = {}
        for logged in ripe:
            indexed = numbering.add(logged)
            if indexed is not None:
                gained.setdefault(hour_of(logged.segment.wall_start_ms), []).append(indexed)
            elif not logged.segment.recovered and (hour := _closed_in(record, logged.segment)) is not None:
                # Listed already, whole or as the salvaged part.
                gained.setdefault(hour, []).append(IndexedSegment(log=logged.log, segment=logged.segment))
        hours = {summary.hour: summary for summary in record.hours}
        sequence = ripe[-1].log
        for hour, segments in gained.items():
            old = hours.get(hour)
            unread = old is not None and old.key in lost
            there = () if old is None or unread else load_hour(self._store, old).segments
            made = make_hour(record.event, hour, sequence, [*there, *segments])
            if old is None or made.segments != there:
                new = save_hour(self._store, made)
                more = len(made.segments) - len(there)
                hours[hour] = new if old is None else carry_over(new, old, gained=more, unread=unread)
        changes = {
            "hours": tuple(hours[hour] for hour in sorted(hours)),
            "log_sequence": sequence,
            "last": tuple(_whole(last, ripe) for last in numbering.last),
            "longest_ms": max([record.longest_ms, *(summary.longest_ms for summary in hours.values())]),
            "changed_ms": self._clock.now_ms(),
        }
        return record.model_copy(update=changes)

    async def _rebuild(self, record: RecordingRecord, ripe: Sequence[Logged]) -> frozenset[str]:
        """Rebuild the unreadable hours that segments are added to, so that their content is not lost.

        Return the keys of objects that still cannot be read; their hours take the segments and stay marked as lost.
        """
        joined = {_closed_in(record, logged.segment) for logged in ripe}
        hours = {hour_of(logged.segment.wall_start_ms) for logged in ripe} | {
            hour for hour in joined if hour is not None
        }
        await self.rebuilder.rebuild(record.account, record.event, hours)
        stored = await self._records.recording(record.account, record.event)
        there = [hour for hour in (stored.value.hours if stored else ()) if hour.hour in hours]
        return frozenset([h.key for h in there if await asyncio.to_thread(self.rebuilder.is_unreadable, h)])

    async def _announce(self, stored: Stored[RecordingRecord], open_hours: set[int]) -> None:
        """Announce the hours that are over, if not yet announced as they are now."""
        record = stored.value
        fresh = [hour for hour in record.hours if not hour.closed and hour.hour not in open_hours]
        if any(hour.hour >= hour_of(self._clock.now_ms()) for hour in fresh) and not await self._records.ended(
            record.account, record.event
        ):
            fresh = [hour for hour in fresh if hour.hour < hour_of(self._clock.now_ms())]
        if not fresh:
            return
        for hour in fresh:
            await self._outbox.emit(_hour_closed(record, hour))
        keys = {hour.key for hour in fresh}
        hours = tuple(hour.model_copy(update={"closed": True}) if hour.key in keys else hour for hour in record.hours)
        await self._records.write(stored, record.model_copy(update={"hours": hours}))


def _closed_in(record: RecordingRecord, segment: SegmentWritten) -> int | None:
    """Return the closed hour that lists a segment; None when there is none."""
    name = identity(segment)
    return next((hour.hour for hour in record.hours for run in hour.runs or () if contains(run, name)), None)


def _whole(last: IndexedSegment, ripe: Sequence[Logged]) -> IndexedSegment:
    """Return a track's newest segment; when it was salvaged short, replaced by the whole one from `ripe`."""
    for logged in ripe:
        if identity(logged.segment) == identity(last.segment) and is_whole_of(last.segment, logged.segment):
            last = last.model_copy(update={"log": logged.log, "segment": logged.segment})
    return last


def ripe_part(tail: Sequence[Logged]) -> list[Logged]:
    """Return the log's oldest part, up to the slot of its newest segment that was not salvaged."""
    newest = next((logged for logged in reversed(tail) if not logged.segment.recovered), None)
    if newest is None:
        return []
    current = slot_of(newest.segment.wall_start_ms)
    ripe: list[Logged] = []
    for logged in tail:
        if slot_of(logged.segment.wall_start_ms) == current:
            break
        ripe.append(logged)
    return ripe


def _hour_closed(record: RecordingRecord, hour: HourSummary) -> HourClosed:
    return HourClosed(
        account=record.account,
        event=record.event,
        hour=hour.hour,
        key=hour.key,
        segments=hour.segments,
        bytes=hour.bytes,
    )
