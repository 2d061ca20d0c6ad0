"""The clips' records, and the events that follow their changes."""

from __future__ import annotations

from dataclasses import dataclass

from services.clipper.ranges import SourceRanges
from services.clipper.state import Change, begun, needs_recording, state_event
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket, Conflict
from shared.errors import Permanent
from shared.messages.clips import ClipCreate, ClipRecord, VodState
from shared.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Clips:
    """Changes records by compare-and-set and publishes each state; the broker drops a repeated event by its id."""

    bucket: Bucket[ClipRecord]
    ranges: SourceRanges
    outbox: Outbox
    clock: Clock

    async def begin(self, order: ClipCreate, state: VodState) -> ClipRecord:
        """Write the record of a new clip, or return the existing one; hold what it is cut from."""
        key = f"{order.account}.{order.clip}"
        record = begun(order, state, self.clock.now_ms())
        try:
            await self.bucket.create(key, record)
        except Conflict:
            record = await self.get(order.account, order.clip)
        await self.ranges.hold(record)
        await self.outbox.emit(state_event(record))
        return record

    async def get(self, account: str, clip: str) -> ClipRecord:
        """Read a record; Permanent when there is none."""
        stored = await self.bucket.get(f"{account}.{clip}")
        if stored is None:
            raise Permanent("there is no such clip")
        return stored.value

    async def change(self, account: str, clip: str, change: Change) -> ClipRecord:
        """Apply a change and publish the clip's state after it; release what a clip no longer needs."""

        def apply(record: ClipRecord | None) -> ClipRecord | None:
            if record is None:
                raise Permanent("there is no such clip")
            return change(record)

        record = await self.bucket.change(f"{account}.{clip}", apply)
        if record is None:
            raise Permanent("there is no such clip")
        await self.outbox.emit(state_event(record))
        if not needs_recording(record):
            await self.ranges.release(record)
        return record
