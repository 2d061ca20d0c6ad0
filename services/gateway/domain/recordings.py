"""Deletes recordings that nothing needs any more."""

from __future__ import annotations

from services.gateway.domain.clips.clips import Clips
from services.gateway.domain.errors import StateConflict
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.locks import Locks
from shared.messages.jobs import JobRecord
from shared.runtime.clock import Clock

ALWAYS_MS = 10**15


class Recordings:
    """Deletes jobs with their recordings, and ranges of recordings.

    Not what a clip in work needs, and not what is locked.
    """

    def __init__(self, jobs: Jobs, clips: Clips, locks: Locks, clock: Clock) -> None:
        self._jobs = jobs
        self._clips = clips
        self._locks = locks
        self._clock = clock

    async def delete_job(self, account: str, job: str) -> None:
        """Remove a job that has ended, with its recording; NotFound or StateConflict."""
        await self._check_free(account, job, 0, ALWAYS_MS)
        await self._jobs.delete(account, job)

    async def delete(self, account: str, job: str, from_ms: int | None, to_ms: int | None) -> None:
        """Request the deletion of a range by wall clock; of a live job only in the past. NotFound or StateConflict."""
        found = await self.check(account, job, from_ms, to_ms)
        await self._jobs.delete_recording(found, from_ms, to_ms)

    async def check(self, account: str, job: str, from_ms: int | None, to_ms: int | None) -> JobRecord:
        """Return the job of a range that may be deleted; NotFound or StateConflict."""
        found = await self._jobs.get(account, job)
        if not found.ended and (to_ms is None or to_ms > self._clock.now_ms()):
            raise StateConflict(f"the job is {found.state}: to must lie in the past")
        await self._check_free(account, job, from_ms or 0, ALWAYS_MS if to_ms is None else to_ms)
        return found

    async def _check_free(self, account: str, job: str, from_ms: int, to_ms: int) -> None:
        if await self._clips.in_work(account, job, from_ms, to_ms):
            raise StateConflict("a clip of it is in work: wait, or cancel it")
        if await self._locks.touch(account, job, from_ms, to_ms):
            raise StateConflict("some of it is locked: remove the lock first")
