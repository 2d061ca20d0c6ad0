"""Clips that wait for their job: for more of it, or for its end, by which those ordered with it get their range."""

from __future__ import annotations

from dataclasses import dataclass

from services.clipper.recording_reader import DROPPED_STATES, OVER_STATES, RecordingReader
from services.clipper.records import Clips
from services.clipper.state import ENDED, WAITING, dropped, entering, settling
from shared.broker.bus import Outbox
from shared.messages.clips import ClipCreate, ClipRecord
from shared.messages.live import JobStateChanged


@dataclass(frozen=True, slots=True)
class Waiting:
    """What becomes of clips that wait for their job. Each step may be repeated."""

    clips: Clips
    source: RecordingReader
    outbox: Outbox

    async def is_held(self, order: ClipCreate) -> bool:
        """Return whether nothing is to be cut for a command yet, or ever: what the record says by then.

        The gateway sends another command, with the range, when the job of a clip that was ordered with it has ended.
        """
        if order.after_live is not None:
            await self.clips.begin(order, "waiting_finish_live")
            await self._drop(order)
            return True
        return order.settled and await self._settle(order)

    async def is_dropped(self, order: ClipCreate) -> bool:
        """Return whether a clip whose end was to come has ended, with a job that was cancelled before it was begun."""
        return order.wait and await self._drop(order)

    async def _settle(self, order: ClipCreate) -> bool:
        await self.clips.begin(order, "processing")
        record = await self.clips.change(order.account, order.clip, settling(order))
        await self.clips.ranges.hold(record)
        if order.refused and record.request.refused:
            record = await self.clips.change(
                order.account, order.clip, entering("failed", self.clips.clock.now_ms(), order.refused)
            )
        return record.state in ENDED

    async def _drop(self, order: ClipCreate) -> bool:
        """Cancel a clip whose job was cancelled before the clip was begun; return whether it has ended."""
        if not await self.source.is_dropped(order):
            return False
        await self.clips.begin(order, "waiting")
        record = await self.clips.change(order.account, order.clip, dropped(self.clips.clock.now_ms()))
        return record.state in ENDED

    async def job_changed(self, event: JobStateChanged) -> None:
        """Cancel the clips that wait for a cancelled job; resume those whose end will not come any more."""
        cancelled = event.state in DROPPED_STATES
        is_new = event.previous is None and event.state == "standby"
        if is_new or not (cancelled or event.state in OVER_STATES):
            return
        for stored in await self.clips.bucket.items(event.account):
            record = stored.value
            if record.state not in WAITING or event.event not in record.request.awaited:
                continue
            if cancelled:
                await self._cancel(record)
            elif record.state == "waiting":
                await self.put_off(record.request, self.clips.clock.now_ms())

    async def _cancel(self, record: ClipRecord) -> None:
        await self.outbox.unschedule(record.account, f"clip-{record.clip}")
        await self.clips.change(record.account, record.clip, dropped(self.clips.clock.now_ms()))

    async def put_off(self, order: ClipCreate, at_ms: int) -> None:
        """Schedule a clip's command for a time, in place of the time set before."""
        await self.outbox.schedule(f"clip-{order.clip}", at_ms, order.model_copy(update={"due_ms": at_ms}))
