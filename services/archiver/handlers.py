"""The archiver's handlers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.archiver.compaction import Compactor
from services.archiver.records import RecordingRecords
from services.archiver.removal import Removal
from services.archiver.slots import Slots
from services.archiver.sweep import Sweeper
from shared.errors import NotYet, Unavailable
from shared.messages.jobs import ENDED_STATES
from shared.messages.live import JobStateChanged
from shared.messages.media import RecordingDelete, RecordingRebuild, RecordingsSweep, SegmentWritten
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
LOOK_AGAIN: Final = timedelta(seconds=10)
# How long after its job's end a session may take to end.
PATIENCE: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method a durable consumer."""

    compactor: Compactor
    slots: Slots
    records: RecordingRecords
    removal: Removal
    sweeper: Sweeper
    clock: Clock

    async def segment(self, message: SegmentWritten) -> None:
        """`media.segment.written`: nearly always a look into a dictionary."""
        if not self.slots.is_new(message):
            return
        try:
            await self.compactor.compact(message.account, message.event)
        except Unavailable as error:  # the log keeps the segments; a later one, or the sweep, tries again
            self.slots.failed(message)
            log.warning("recording.compaction.failed", event_id=message.event, error=str(error))
        else:
            self.slots.done(message)

    async def job(self, message: JobStateChanged) -> None:
        """`live.job.state_changed`: a job that is over has its last hour closed."""
        if message.state not in ENDED_STATES:
            return
        await self.compactor.compact(message.account, message.event, everything=True)
        young = self.clock.now_ms() - message.at_ms < PATIENCE // timedelta(milliseconds=1)
        if young and await self.records.publishing(message.account, message.event):
            raise NotYet("a session of the job has not ended yet", LOOK_AGAIN)

    async def delete(self, message: RecordingDelete) -> None:
        """`recordings.delete`."""
        await self.removal.remove(message)

    async def rebuild(self, message: RecordingRebuild) -> None:
        """`recordings.rebuild`."""
        await self.compactor.rebuilder.rebuild(message.account, message.event, {message.hour})

    async def sweep(self, message: RecordingsSweep) -> None:
        """`recordings.sweep`."""
        log.info("recording.sweep.started", tick_ms=message.tick_ms)
        await self.sweeper.sweep()
