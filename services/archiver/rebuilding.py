"""Rebuilds missing or damaged index objects from the log and from the segments' files (ADR 22).

Order as in compaction: the object first, then the record by compare-and-set, then the event. After a kill at any step
the next rebuild starts from the record; of two at once one record wins, and both have written the same.

Missing segments may be back tomorrow: a folder that is not mounted looks like an empty one. So an hour of which nothing
is found stays listed unchanged, and an hour with missing segments is marked (`HourSummary.lost`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from nats.js import JetStreamContext

from services.archiver.finding import Finder, Found, names_of
from services.archiver.records import RecordingRecords
from services.archiver.renumbering import Renumbering
from shared.broker.kv import Conflict
from shared.media.timeline import identity
from shared.messages.media import IndexedSegment
from shared.messages.recordings import HourSummary, RecordingRecord
from shared.messages.sessions import SessionRecord
from shared.recording.hours import (
    IndexDamaged,
    carry_over,
    index_folder,
    load_hour,
    lost_hour,
    make_hour,
    restore_hour,
)
from shared.recording.log import Logged, read_log
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore, ObjectMissing

log = get_logger()
ROUNDS: Final = 20
SLACK_MS: Final = 120_000
BESIDE: Final = 2
"""How many hours on either side are read for an hour's sessions and numbers."""


class Rebuilder:
    """Makes hours readable again; keeps nothing between calls."""

    def __init__(
        self, js: Callable[[], JetStreamContext], store: MediaStore, records: RecordingRecords, clock: Clock
    ) -> None:
        self._js = js
        self._store = store
        self._records = records
        self._clock = clock

    async def rebuild(self, account: str, event: str, hours: Collection[int] | None = None) -> int:
        """Rebuild the hours of a recording, or those of `hours`, that cannot be read or lack segments.

        Return their number, including those that did not change. Unavailable when broker or store does not answer,
        Conflict when the record keeps changing.
        """
        for _ in range(ROUNDS):
            stored = await self._records.recording(account, event)
            if stored is None:
                return 0
            record = stored.value
            asked = [hour for hour in record.hours if hours is None or hour.hour in hours]
            broken = [
                hour for hour in asked if hour.lost is not None or await asyncio.to_thread(self.is_unreadable, hour)
            ]
            if not broken:
                return 0
            again = await self._records.recording(account, event)
            if again is None or again.revision != stored.revision:  # a missing object may have been replaced meanwhile
                continue
            sessions = {session.session: session for session in await self._records.sessions(account, event)}
            logged = await self._logged(record, broken)
            kept = await asyncio.to_thread(self._folded, record, broken, logged, sessions)
            if kept == record.hours:
                return len(broken)
            try:
                changes = {"hours": kept, "changed_ms": self._clock.now_ms()}
                await self._records.write(stored, record.model_copy(update=changes))
            except Conflict:  # another archiver or a compaction was first
                continue
            return len(broken)
        raise Conflict(f"the recording of {event} keeps changing")

    async def missing(self, account: str, event: str) -> list[int]:
        """Return the hours that lack segments, or whose objects are gone or empty by a listing of the folder."""
        stored = await self._records.recording(account, event)
        if stored is None or not stored.value.hours:
            return []
        sizes = await asyncio.to_thread(lambda: {o.key: o.size for o in self._store.list(index_folder(event))})
        return [hour.hour for hour in stored.value.hours if hour.lost or not sizes.get(hour.key)]

    def is_unreadable(self, hour: HourSummary) -> bool:
        """Return whether an hour's object cannot be used, and log it. Blocks."""
        try:
            load_hour(self._store, hour)
        except (IndexDamaged, ObjectMissing) as error:
            log.error("recording.hour.damaged", key=hour.key, error=str(error))
            return True
        return False

    async def _logged(self, record: RecordingRecord, broken: Sequence[HourSummary]) -> list[Logged]:
        """Read the log's segments from the first broken hour on."""
        since_ms = max(min(hour.wall_start_ms for hour in broken) - SLACK_MS, 0)
        logged = await read_log(self._js(), record.account, record.event, since_ms=since_ms)
        if not logged or logged[0].segment.wall_start_ms > since_ms:  # the broker's clock differs from the segments'
            return await read_log(self._js(), record.account, record.event)
        return logged

    def _folded(
        self,
        record: RecordingRecord,
        broken: Sequence[HourSummary],
        logged: Sequence[Logged],
        sessions: dict[str, SessionRecord],
    ) -> tuple[HourSummary, ...]:
        """Rebuild the broken hours in order, each one's numbers continuing those before it. Blocks."""
        for hour in sorted(broken, key=lambda hour: hour.hour):
            new = self._made(record, hour, logged, sessions)
            hours = tuple(new if other.key == hour.key else other for other in record.hours)
            record = record.model_copy(update={"hours": hours})
        return record.hours

    def _made(
        self,
        record: RecordingRecord,
        hour: HourSummary,
        logged: Sequence[Logged],
        sessions: dict[str, SessionRecord],
    ) -> HourSummary:
        """Write an hour's new object and return its summary; the old one when nothing more is found. Blocks."""
        own, known = self._segments(hour), self._others(record, hour)
        have = self._with_earlier(hour, own)
        upto = [one for one in logged if one.log <= hour.log_sequence]
        found = Finder(self._store, record.account, record.event, hour, sessions, known, have).find(upto)
        self._tell(hour, found)
        if len(found.names) == len(own):
            return hour
        segments = Renumbering(record, hour, known, have).number(found, upto)
        made = make_hour(record.event, hour.hour, hour.log_sequence, segments)
        return carry_over(restore_hour(self._store, made, hour), hour, unread=not own)

    def _with_earlier(self, hour: HourSummary, own: list[IndexedSegment]) -> list[IndexedSegment]:
        """Add segments that the hour lost, if their object is back: it says more about them than their files."""
        names = {identity(one.segment) for one in own}
        wanted = None if hour.runs is None else set(names_of(hour)) - names
        earlier = [one for one in self._segments(lost_hour(hour)) if identity(one.segment) not in names]
        return [*own, *(one for one in earlier if wanted is None or identity(one.segment) in wanted)]

    def _segments(self, hour: HourSummary | None) -> list[IndexedSegment]:
        """Read an hour's segments; none when it cannot be read."""
        try:
            return [] if hour is None else list(load_hour(self._store, hour).segments)
        except (IndexDamaged, ObjectMissing):
            return []

    def _others(self, record: RecordingRecord, hour: HourSummary) -> list[IndexedSegment]:
        """Read the nearest readable hours on both sides; all hours when the summary does not name its segments."""
        before = [other for other in record.hours if other.hour < hour.hour][::-1]
        behind = [other for other in record.hours if other.hour > hour.hour]
        found: list[IndexedSegment] = []
        for side in (before, behind):
            read = 0
            for other in side:
                segments = self._segments(other)
                found += segments
                read += bool(segments)
                if read == BESIDE and hour.runs is not None:
                    break
        return found

    def _tell(self, hour: HourSummary, found: Found) -> None:
        say = log.error if found.missing or not found.names else log.warning
        say(
            "recording.hour.rebuilt" if found.names else "recording.hour.lost", key=hour.key,
            from_log=len(found.logged), from_files=len(found.from_files), missing=len(found.missing),
        )  # fmt: skip
