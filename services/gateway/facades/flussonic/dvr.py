"""A stream's recordings: ranges, locks, deletion; over all jobs that its name has meant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel, Field

from services.gateway.delivery import Delivery
from services.gateway.delivery.coverage import Coverage, Span, merged
from services.gateway.domain.errors import NotFound, invalid, no_such
from services.gateway.domain.locks import Locks
from services.gateway.domain.recordings import Recordings
from services.gateway.facades.flussonic.models import Millis, Seconds
from services.gateway.facades.flussonic.streams import Stream
from shared.messages.jobs import JobRecord

ALWAYS: Final[Span] = (0, 10**15)
LONGEST: Final = timedelta(hours=48)
_OLD_S: Final = 10**11  # times in s are below, times in ms above


class RangeBody(BaseModel):
    """A range: `opened_at` and `closed_at` in ms, or `from` and `duration` in s; the former count if there are both."""

    opened_at: Millis | None = None
    closed_at: Millis | None = None
    start: Seconds | None = Field(None, alias="from")
    duration: Seconds | None = None

    def span(self) -> Span:
        """Return the range in ms; Invalid."""
        if self.opened_at is not None or self.closed_at is not None:
            if self.opened_at is None or self.closed_at is None:
                raise invalid("/closed_at" if self.closed_at is None else "/opened_at", "is needed, too")
            if self.closed_at <= self.opened_at:
                raise invalid("/closed_at", "must be after opened_at")
            return self.opened_at, self.closed_at
        if self.start is None or not self.duration:
            raise invalid("/from" if self.start is None else "/duration", "is needed")
        if self.start >= _OLD_S:
            raise invalid("/from", "must be seconds since the epoch; opened_at has milliseconds")
        return self.start * 1000, (self.start + self.duration) * 1000


def range_item(span: Span) -> dict[str, int]:
    """Return a range with the present fields in ms, and the old ones in s."""
    start, end = span
    return {"opened_at": start, "closed_at": end, "from": start // 1000, "duration": -(-end // 1000) - start // 1000}


@dataclass(frozen=True, slots=True)
class Dvr:
    """Reads and changes recordings of streams."""

    delivery: Delivery
    locks: Locks
    recordings: Recordings
    coverage: Coverage

    async def ranges(self, stream: Stream, span: Span = ALWAYS) -> list[Span]:
        """Return what was recorded, in order."""
        found: list[Span] = []
        for job in await self._jobs(stream):
            index = await self.delivery.index(stream.account, job.event)
            found += await self.coverage.spans(index, *span)
        return merged(found)

    async def locked(self, stream: Stream, span: Span = ALWAYS) -> list[Span]:
        """Return what of a range is locked, in order."""
        found: list[Span] = []
        for job in await self._jobs(stream):
            locks = await self.locks.of(stream.account, job.event)
            found += [(lock.from_ms, lock.to_ms) for lock in locks if lock.touches(*span)]
        return sorted(found)

    async def lock(self, stream: Stream, span: Span) -> None:
        """Lock a range, which may lie in the future. Invalid, NotFound, TooLarge."""
        if timedelta(milliseconds=span[1] - span[0]) > LONGEST:
            raise invalid("/duration", "a lock is at most 48 hours long; locks that meet become one")
        for job in await self._at(stream, span):
            await self.locks.add(stream.account, job.event, *span)

    async def unlock(self, stream: Stream, span: Span) -> None:
        """Unlock a range."""
        for job in await self._jobs(stream):
            await self.locks.remove(stream.account, job.event, *span)

    async def erase(self, stream: Stream, span: Span) -> None:
        """Request the deletion of a range. NotFound, StateConflict when it is locked, needed by a clip, or not over."""
        jobs = await self._at(stream, span)
        for job in jobs:
            await self.recordings.check(stream.account, job.event, *span)
        for job in jobs:
            await self.recordings.delete(stream.account, job.event, *span)

    async def event_at(self, stream: Stream, at_ms: int) -> str:
        """Return the job whose recording may hold a moment: the latest that was made before it."""
        jobs = await self._jobs(stream) if len(stream.events) > 1 else []
        return next((job.event for job in jobs if job.created_ms <= at_ms), jobs[-1].event if jobs else stream.event)

    async def _at(self, stream: Stream, span: Span) -> list[JobRecord]:
        """Return the jobs that were there during a range, or else the present one; NotFound without any."""
        jobs = await self._jobs(stream)
        if not jobs:
            raise NotFound("the stream has no recording")
        there = [
            job for job in jobs if job.created_ms < span[1] and (job.finished_ms is None or job.finished_ms > span[0])
        ]
        return there or jobs[:1]

    async def _jobs(self, stream: Stream) -> list[JobRecord]:
        """Return the stream's jobs that are still there, the present one first; NotFound when it was nothing else."""
        found: list[JobRecord] = []
        for event in stream.events:
            try:
                found.append(await self.delivery.job(stream.account, event))
            except NotFound:
                continue
        if not found and stream.alias is None:
            raise no_such("stream")
        return found


def items(spans: list[Span]) -> list[dict[str, Any]]:
    """Return ranges as items of a collection."""
    return [dict(range_item(span)) for span in spans]
