"""Retention: deletes hours that are too old, with bytes, index and record, in steps that survive a kill.

1. The record moves the hour from `hours` to `expiring`: from here on it is not listed, played or cut.
2. Its segments' files are deleted; when a session has none left, its whole folder with the init segments.
3. Its messages are purged from the log.
4. RecordingExpired is published.
5. The record drops the hour.
6. Its index object is deleted; if that fails, `tidy` removes it as an unlisted object.
Hours found in `expiring` continue at step 2. An hour there whose object and files are all gone was not deleted by us,
since the object is deleted last: its folder may not be mounted. It waits, for as long again as it was kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from services.archiver.finding import files_of
from services.archiver.records import RecordingRecords
from shared.broker.bus import Outbox
from shared.broker.kv import Conflict, Stored
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.errors import Unavailable
from shared.messages.locks import Lock
from shared.messages.media import RecordingExpired, SegmentWritten
from shared.messages.recordings import HourSummary, RecordingRecord, SegmentRun
from shared.recording.hours import HOUR_MS, IndexDamaged, index_folder, keys_of, load_hour, log_sequence_of
from shared.recording.log import read_log
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore, ObjectInfo, ObjectMissing

log = get_logger()
AT_ONCE: Final = 16
ROUNDS: Final = 20
YOUNG_MS: Final = HOUR_MS
"""How long an object that no record lists may wait for its record, ms."""


# Splits an hour into what is kept and what is deleted; each may be None. Blocks.
Split = Callable[[HourSummary], tuple[HourSummary | None, HourSummary | None]]


class Retention:
    """Deletes what is older than `keep`, and what clients ask for."""

    def __init__(
        self,
        js: Callable[[], JetStreamContext],
        store: MediaStore,
        records: RecordingRecords,
        outbox: Outbox,
        clock: Clock,
        *,
        keep: timedelta,
    ) -> None:
        self._js = js
        self._store = store
        self._records = records
        self._outbox = outbox
        self._clock = clock
        self._keep_ms = keep // timedelta(milliseconds=1)

    async def expire(self, account: str, event: str, split: Split | None = None, *, spare: bool = True) -> None:
        """Delete the recording's hours that have passed retention, and finish earlier deletions.

        With `split`, delete what it separates from each hour instead. `spare`: but no hour that a lock, or what a clip
        in work needs, touches.
        """
        split = split or self._when_old
        if spare and (spared := await self._records.spared(account, event)):
            split = sparing(spared, split)
        stored = await self._hide(account, event, split)
        if stored is None:
            return
        record = stored.value
        waiting: list[HourSummary] = []
        for number, hour in enumerate(record.expiring):
            if not self._is_over(hour, 2) and not await self.holds(event, hour):
                log.error("recording.hour.lost", key=hour.key, deletion="waits until something of it is found")
                waiting.append(hour)
                continue
            await self._delete(record, hour, (*record.hours, *waiting, *record.expiring[number + 1 :]))
            await self._outbox.emit(
                RecordingExpired(account=account, event=event, hour=hour.hour, segments=hour.segments, bytes=hour.bytes)
            )
            await self._forget(account, event, hour)
            await self._remove(keys_of(hour))
            log.info("recording.hour.expired", event_id=event, hour=hour.hour, segments=hour.segments)

    async def holds(self, event: str, hour: HourSummary) -> bool:
        """Return whether anything of an hour is in the store."""

        def look() -> bool:
            return any(self._store.info(k) for k in keys_of(hour)) or bool(files_of(self._store, event, hour))

        return await asyncio.to_thread(look)

    async def has_media(self, event: str, hour: HourSummary) -> bool:
        """Return whether any of an hour's segments is in the store."""

        def look() -> bool:
            try:
                keys = [indexed.segment.key for indexed in load_hour(self._store, hour).segments]
            except (IndexDamaged, ObjectMissing):
                keys = files_of(self._store, event, hour)
            return any(self._store.info(key) for key in keys)

        return await asyncio.to_thread(look)

    async def hours(self, account: str, event: str) -> tuple[HourSummary, ...]:
        """Return a recording's closed hours."""
        stored = await self._records.recording(account, event)
        return stored.value.hours if stored else ()

    async def tidy(self, account: str, event: str) -> None:
        """Remove index objects that no record lists any more, and the record of a recording with nothing left."""
        found = await asyncio.to_thread(lambda: list(self._store.list(index_folder(event))))
        stored = await self._records.recording(account, event)
        if stored is None:
            await self._tidy_sessions(account, event, RecordingRecord(account=account, event=event, changed_ms=0))
            return
        record = stored.value
        is_gone = not record.hours and not record.expiring and await self._records.ended(account, event)
        if is_gone and await read_log(self._js(), account, event, after=record.log_sequence, most=1):
            return
        listed = _listed(record)
        await self._remove([o.key for o in found if o.key not in listed and (is_gone or self._is_stale(o, record))])
        if is_gone:
            await self._purge(account, event, record.log_sequence)
            await self._records.remove(stored)
            log.info("recording.gone", event_id=event)
        await self._tidy_sessions(account, event, record)

    def _is_stale(self, found: ObjectInfo, record: RecordingRecord) -> bool:
        """Return whether no record will list an object: another archiver may have written it for its next record.

        An object with a sequence beyond the record's may be listed by a later record, a young object by one that is
        being written: a rebuilt hour keeps its old sequence.
        """
        sequence = log_sequence_of(found.key)
        old = found.modified_ms + YOUNG_MS <= self._clock.now_ms()
        return old and sequence is not None and sequence <= record.log_sequence

    async def _tidy_sessions(self, account: str, event: str, record: RecordingRecord) -> None:
        """Remove the records of sessions that have no segments left; with the last, the job's other session data."""
        hours = (*record.hours, *record.expiring)
        if any(hour.runs is None for hour in hours):  # unknown without reading all of them
            return
        logged = await read_log(self._js(), account, event, after=record.log_sequence)
        kept = {run.session for hour in hours for run in hour.runs or ()} | {one.segment.session for one in logged}
        over = await self._records.ended(account, event)
        left = 0
        for session in await self._records.sessions(account, event):
            old = session.ended_ms is not None and session.ended_ms + self._keep_ms <= self._clock.now_ms()
            if session.session not in kept and session.ended_ms is not None and (over or old):
                await self._records.remove_session(session)
            else:
                left += 1
        if over and not left and not hours and not logged:
            await self._records.remove_rest(account, event)

    async def _hide(self, account: str, event: str, split: Split) -> Stored[RecordingRecord] | None:
        """Move what is to be deleted from `hours` to `expiring`; return the record when any hour is expiring."""
        for _ in range(ROUNDS):
            stored = await self._records.recording(account, event)
            if stored is None:
                return None
            parted = await asyncio.to_thread(list, map(split, stored.value.hours))
            gone = tuple(part for _, part in parted if part)
            kept = tuple(part for part, _ in parted if part)
            if kept == stored.value.hours:
                return stored if stored.value.expiring else None
            changes = {
                "hours": kept, "expiring": (*stored.value.expiring, *gone), "changed_ms": self._clock.now_ms(),
            }  # fmt: skip
            try:
                hidden = await self._records.write(stored, stored.value.model_copy(update=changes))
            except Conflict:
                continue
            await self._remove(_listed(stored.value) - _listed(hidden.value))  # split hours' old objects
            return hidden
        raise Conflict(f"the recording of {event} keeps changing")

    def _when_old(self, hour: HourSummary) -> tuple[HourSummary | None, HourSummary | None]:
        return (None, hour) if self._is_over(hour) else (hour, None)

    def _is_over(self, hour: HourSummary, times: int = 1) -> bool:
        end_ms = max((hour.hour + 1) * HOUR_MS, hour.wall_end_ms)
        return end_ms + times * self._keep_ms <= self._clock.now_ms()

    async def _delete(self, record: RecordingRecord, hour: HourSummary, others: Sequence[HourSummary]) -> None:
        """Delete an hour's files, and its messages in the log."""
        keys, folders = await asyncio.to_thread(self._contents, record.event, hour)
        await self._remove(keys)
        tail = await read_log(self._js(), record.account, record.event, after=record.log_sequence)
        folders -= {_folder(record.event, logged.segment) for logged in tail}
        for other in others if folders else ():
            used = await asyncio.to_thread(self._folders, record.event, other)
            folders = set() if used is None else folders - used
        for folder in folders:  # nothing of that session's track is left: delete init segments and leftovers too
            await self._remove(await asyncio.to_thread(lambda f: [o.key for o in self._store.list(f)], folder))
        await self._purge(record.account, record.event, hour.log_sequence)

    def _contents(self, event: str, hour: HourSummary) -> tuple[list[str], set[str]]:
        """Return the keys of an hour's segments, and their sessions' folders. Blocks.

        When its object cannot be read, by its summary and a listing of the store.
        """
        folders = {_folder(event, run) for run in hour.runs or ()}
        try:
            segments = [indexed.segment for indexed in load_hour(self._store, hour).segments]
        except (IndexDamaged, ObjectMissing) as error:
            log.warning("recording.hour.unreadable", key=hour.key, error=str(error))
            return files_of(self._store, event, hour), folders
        more = files_of(self._store, event, hour) if hour.lost else []
        keys = dict.fromkeys([*(segment.key for segment in segments), *more])
        return list(keys), folders | {_folder(event, segment) for segment in segments}

    def _folders(self, event: str, hour: HourSummary) -> set[str] | None:
        """Return the folders that an hour has segments in; None when that is unknown. Blocks."""
        if hour.runs is not None:
            return {_folder(event, run) for run in hour.runs}
        try:
            segments = load_hour(self._store, hour).segments
        except (IndexDamaged, ObjectMissing):
            return None
        return None if hour.lost else {_folder(event, indexed.segment) for indexed in segments}

    async def _remove(self, keys: Iterable[str]) -> None:
        """Delete objects, several at once: a remote store takes about 20 ms for each."""
        every = list(keys)

        def some(start: int) -> None:
            for key in every[start::AT_ONCE]:
                self._store.delete(key)

        await asyncio.gather(*(asyncio.to_thread(some, start) for start in range(min(AT_ONCE, len(every)))))

    async def _purge(self, account: str, event: str, log_sequence: int) -> None:
        """Purge the event's messages up to a sequence from the log."""
        try:
            await self._js().purge_stream(SEGMENTS, subject=segments_subject(account, event), seq=log_sequence + 1)
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"SEGMENTS: {type(error).__name__}") from error

    async def _forget(self, account: str, event: str, hour: HourSummary) -> None:
        for _ in range(ROUNDS):
            stored = await self._records.recording(account, event)
            if stored is None or hour.key not in {other.key for other in stored.value.expiring}:
                return
            left = tuple(other for other in stored.value.expiring if other.key != hour.key)
            changes = {
                "expiring": left, "expired_hours": stored.value.expired_hours + 1, "changed_ms": self._clock.now_ms(),
            }  # fmt: skip
            try:
                await self._records.write(stored, stored.value.model_copy(update=changes))
            except Conflict:
                continue
            return
        raise Conflict(f"the recording of {event} keeps changing")


def touched(spared: Iterable[Lock], hour: HourSummary) -> bool:
    """Return whether any of the ranges to spare touches an hour."""
    return any(lock.touches(hour.wall_start_ms, hour.wall_end_ms) for lock in spared)


def sparing(spared: Sequence[Lock], split: Split) -> Split:
    """Return a split that keeps the hours that a range to spare touches whole, and else does as `split`."""
    return lambda hour: (hour, None) if touched(spared, hour) else split(hour)


def _listed(record: RecordingRecord) -> set[str]:
    """Return the keys of the objects that a record lists."""
    return {key for hour in (*record.hours, *record.expiring) for key in keys_of(hour)}


def _folder(event: str, part: SegmentWritten | SegmentRun) -> str:
    return f"live/{event}/{part.session}/{part.track}"
