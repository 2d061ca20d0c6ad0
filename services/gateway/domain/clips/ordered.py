"""Clips that are ordered with their job: checked at once, given their range when the job has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from nats.js import JetStreamContext

from services.gateway.domain.clips.ahead import after_live, asked_range, looked_ahead
from services.gateway.domain.clips.asked import NewClip
from services.gateway.domain.clips.bounds import Bounds
from services.gateway.domain.clips.clips import Clips, Outward
from services.gateway.domain.clips.window import ClipRange, resolve
from services.gateway.domain.destinations.destinations import Stored
from services.gateway.domain.errors import Invalid, NotFound, gathered, invalid
from services.gateway.domain.jobs.jobs import Jobs, NewJob
from services.gateway.domain.told import Receiver, Told
from shared.broker.bus import Outbox
from shared.media.timeline import locate
from shared.messages.clips import ClipCreate
from shared.messages.jobs import JobRecord
from shared.messages.ranges import ReelRange
from shared.recording import last_segment
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
NOT_AHEAD: Final = "does not go with a clip that is ordered with its job: there is no stream yet"


@dataclass(frozen=True, slots=True)
class OrderedClips:
    """Makes jobs with clips. Each step may be repeated: a clip is settled once, however often its job's end is told."""

    jobs: Jobs
    clips: Clips
    outward: Outward
    bounds: Bounds
    jetstream: Callable[[], JetStreamContext]
    outbox: Outbox
    clock: Clock

    async def create(
        self, account: str, job: NewJob, asked: Sequence[NewClip], told: Sequence[Receiver], ids: Callable[[int], str]
    ) -> tuple[JobRecord, list[ClipCreate]]:
        """Make a job and order its clips; Invalid or TooMany before any of them is there. `ids(0)` is the job's.

        `told` are notified of the job; of its clips, those that want to know which outputs have finished.
        """
        event = ids(0)
        if told:
            named = any(one.credentials is not None for one in told)
            stored = await self.outward.destinations.stored(account) if named else Stored()
            job = replace(job, notifications=Told(self.outward.receivers).sealed("", told, stored))
        of_outputs = tuple(one for one in told if one.event == "output_finished")
        asked = [replace(one, receivers=(*one.receivers, *of_outputs)) for one in asked]
        if not asked:
            return await self.jobs.create(account, event, job), []
        commands = await self._commands(account, event, asked, lambda position: ids(position + 1))
        async with self.clips.room(account, commands):
            made = await self.jobs.create(account, event, job)
            await asyncio.gather(*(self.outbox.emit(command) for command in commands))
        if made.broadcast_over:  # a request that is repeated after the job's end
            await self.settle(account, event)
        return made, commands

    async def _commands(
        self, account: str, event: str, asked: Sequence[NewClip], ids: Callable[[int], str]
    ) -> list[ClipCreate]:
        for one in asked:
            if one.instant:
                raise invalid(f"{one.field}.mode", NOT_AHEAD)
            if one.ranges:
                raise invalid(f"{one.field}.ranges", NOT_AHEAD)
        windows = gathered(partial(looked_ahead, one.field, one.range, self.clock.now_ms()) for one in asked)
        ranges = [
            (ReelRange(event=event, selection=one.selection, asked_duration=one.asked_duration, live=True),)
            for one in windows
        ]
        commands = await self.clips.prepared(account, event, asked, ranges, ids)
        return [
            command.model_copy(update={"after_live": after_live(one.range)})
            for command, one in zip(commands, asked, strict=True)
        ]

    async def activate(self, account: str, event: str) -> JobRecord:
        """Activate a static entry point, after the clips of its last activation have got their ranges."""
        await self.settle(account, event)
        return await self.jobs.activate(account, event)

    async def settle(self, account: str, event: str) -> None:
        """Give the waiting clips of a job that has ended their ranges. A cancelled job's are dropped by the clipper."""
        try:
            job = await self.jobs.get(account, event)
        except NotFound:
            return
        if not job.broadcast_over or job.state == "cancelled":
            return
        if waiting := await self.clips.ordered_with(account, event):
            await asyncio.gather(*(self.outbox.emit(order) for order in await self._settled(job, waiting)))
            log.info("clips.settled", live=event, clips=len(waiting))

    async def _settled(self, job: JobRecord, waiting: Sequence[ClipCreate]) -> list[ClipCreate]:
        last = await last_segment(self.jetstream(), job.account, job.event)
        asked = [asked_range(order.after_live) for order in waiting if order.after_live]
        now: dict[str, Any] = {
            "after_live": None, "settled": True, "live": False, "requested_ms": self.clock.now_ms(),
            "recorded_to": locate(last).end if last else None,
        }  # fmt: skip
        try:
            recording = await self.bounds.of(job, last)
        except Invalid as error:
            return [order.model_copy(update=now | {"refused": str(error)[:1024]}) for order in waiting]
        now["zero"] = recording.zero
        ranges = await self.bounds.timecodes.settle(job.account, job.event, asked, recording.zero)
        settled: list[ClipCreate] = []
        for order, span in zip(waiting, ranges, strict=True):
            try:
                window = resolve(_found(span), recording)
                found = {"selection": window.selection, "asked_duration": window.asked_duration}
            except Invalid as error:
                found = {"refused": str(error)[:1024]}
            settled.append(order.model_copy(update=now | found))
        return settled


def _found(span: ClipRange | Invalid) -> ClipRange:
    if isinstance(span, Invalid):
        raise span
    return span
