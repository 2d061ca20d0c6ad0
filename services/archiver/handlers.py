"""The archiver's handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from services.archiver.compaction import Compactor
from services.archiver.records import Records
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


def make_segment_written(compactor: Compactor, slots: Slots) -> Callable[[SegmentWritten], Awaitable[None]]:
    """Make the handler of `media.segment.written`: nearly always a lookup in a dictionary."""

    async def segment_written(message: SegmentWritten) -> None:
        if not slots.is_new(message):
            return
        try:
            await compactor.compact(message.account, message.event)
        except Unavailable as error:  # the log keeps the segments; a later one, or the sweep, tries again
            slots.failed(message)
            log.warning("recording.compaction.failed", event_id=message.event, error=str(error))
        else:
            slots.done(message)

    return segment_written


def make_job_changed(
    compactor: Compactor, records: Records, clock: Clock
) -> Callable[[JobStateChanged], Awaitable[None]]:
    """Make the handler of `live.job.state_changed`: it closes the last hour of a job that is over."""

    async def job_changed(message: JobStateChanged) -> None:
        if message.state not in ENDED_STATES:
            return
        await compactor.compact(message.account, message.event, everything=True)
        young = clock.now_ms() - message.at_ms < PATIENCE // timedelta(milliseconds=1)
        if young and await records.publishing(message.account, message.event):
            raise NotYet("a session of the job has not ended yet", LOOK_AGAIN)

    return job_changed


def make_delete(removal: Removal) -> Callable[[RecordingDelete], Awaitable[None]]:
    """Make the handler of `recordings.delete`."""

    async def delete(message: RecordingDelete) -> None:
        await removal.remove(message)

    return delete


def make_rebuild(compactor: Compactor) -> Callable[[RecordingRebuild], Awaitable[None]]:
    """Make the handler of `recordings.rebuild`."""

    async def rebuild(message: RecordingRebuild) -> None:
        await compactor.rebuilder.rebuild(message.account, message.event, {message.hour})

    return rebuild


def make_sweep(sweeper: Sweeper) -> Callable[[RecordingsSweep], Awaitable[None]]:
    """Make the handler of `recordings.sweep`."""

    async def sweep(message: RecordingsSweep) -> None:
        log.info("recording.sweep.started", tick_ms=message.tick_ms)
        await sweeper.sweep()

    return sweep
