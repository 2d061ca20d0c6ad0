"""The buckets that the archiver reads and writes."""

from __future__ import annotations

from collections.abc import Callable

from nats.js import JetStreamContext

from shared.broker import buckets
from shared.broker.kv import Bucket, Conflict, Stored
from shared.messages.jobs import JobRecord
from shared.messages.locks import Lock, RecordingLocks
from shared.messages.ranges import SourceRange
from shared.messages.recordings import RecordingRecord
from shared.messages.sessions import EventClock, SessionRecord, clock_key, status_prefix


class RecordingRecords:
    """Reads and writes recordings by compare-and-set; reads jobs, sessions and what to spare; deletes old sessions."""

    def __init__(self, js: Callable[[], JetStreamContext]) -> None:
        self._recordings = Bucket(js, buckets.RECORDINGS, RecordingRecord)
        self._jobs = Bucket(js, buckets.JOBS, JobRecord)
        self._sessions = Bucket(js, buckets.SESSIONS, SessionRecord)
        self._clocks = Bucket(js, buckets.SESSIONS, EventClock)
        self._locks = Bucket(js, buckets.LOCKS, RecordingLocks)
        self._ranges = Bucket(js, buckets.CLIP_RANGES, SourceRange)

    async def recording(self, account: str, event: str) -> Stored[RecordingRecord] | None:
        """Read a recording's record."""
        return await self._recordings.get(f"{account}.{event}")

    async def spared(self, account: str, event: str) -> tuple[Lock, ...]:
        """Return the ranges of a recording that retention spares: users' locks, and what clips in work need."""
        stored = await self._locks.get_settled(f"{account}.{event}")
        held = [stored.value for stored in await self._ranges.items(f"{account}.{event}")]
        clips = tuple(Lock(from_ms=one.from_ms, to_ms=one.to_ms) for one in held)
        return (*stored.value.locks, *clips) if stored else clips

    async def recordings(self) -> list[RecordingRecord]:
        """Read all records."""
        return [stored.value for stored in await self._recordings.items()]

    async def write(self, stored: Stored[RecordingRecord] | None, record: RecordingRecord) -> Stored[RecordingRecord]:
        """Replace the record that was read, or create it; Conflict when another writer was first."""
        if stored is not None:
            return await self._recordings.replace(stored, record)
        key = f"{record.account}.{record.event}"
        return Stored(key, record, await self._recordings.create(key, record))

    async def remove(self, stored: Stored[RecordingRecord]) -> None:
        """Remove a recording's record."""
        await self._recordings.delete(stored.key)

    async def ended(self, account: str, event: str) -> bool:
        """Return whether an event's job is over or gone."""
        job = await self._jobs.get(f"{account}.{event}")
        return job is None or job.value.ended

    async def sessions(self, account: str = "*", event: str = "*") -> list[SessionRecord]:
        """Read the sessions of an event, or of all."""
        return [stored.value for stored in await self._sessions.items(f"{account}.{event}.*")]

    async def remove_session(self, session: SessionRecord) -> None:
        """Remove a session's record."""
        await self._sessions.delete(f"{session.account}.{session.event}.{session.session}")

    async def remove_rest(self, account: str, event: str) -> None:
        """Remove what else the bucket holds of an event: its clock, and its publishers' status."""
        for key in await self._sessions.keys(status_prefix(account, event)):
            await self._sessions.delete(key)
        key = clock_key(account, event)
        if await self._clocks.get(key) is not None:
            await self._clocks.delete(key)

    async def publishing(self, account: str, event: str) -> bool:
        """Return whether a session of the event has not ended yet."""
        return any(stored.value.ended_ms is None for stored in await self._sessions.items(f"{account}.{event}"))


__all__ = ["Conflict", "RecordingRecords"]
