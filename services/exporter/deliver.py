"""Delivers a file and updates its record; a less exact file never replaces a more exact one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Literal

from services.exporter.destination import Destination
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.messages.clips import Accuracy
from shared.messages.exports import ExportDeliver, ExportDelivered, ExportFailed, ExportRecord
from shared.runtime.clock import Clock
from shared.store import MediaStore
from shared.store.base import ObjectMissing

_RANK: Final[Mapping[Accuracy, int]] = {"segment": 0, "frame": 1}


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Delivers files through the adapters of their destinations."""

    store: MediaStore
    exports: Bucket[ExportRecord]
    destinations: Mapping[str, Destination]
    outbox: Outbox
    clock: Clock

    async def deliver(self, order: ExportDeliver) -> ExportDelivered | None:
        """Deliver the file to its destination; None when a more exact one is there already.

        DestinationFailed when the destination fails, Permanent when the source is gone.
        """
        destination = self.destinations[order.destination]
        async with AsyncExitStack() as stack:
            lock = destination.exclusive(order.account, order.file_name)
            await asyncio.to_thread(lock.__enter__)
            stack.push_async_exit(lambda *exc: asyncio.to_thread(lock.__exit__, *exc))
            return await self._deliver_alone(destination, order)

    async def _deliver_alone(self, destination: Destination, order: ExportDeliver) -> ExportDelivered | None:
        key = f"{order.account}.{order.export}"
        stored = await self.exports.get(key)
        before = stored.value if stored else None
        if before and _yields(order, before):
            await self._put_right(destination, order, before)
            return None
        done = before is not None and before.state == "delivered" and before.accuracy == order.accuracy
        if before and done and await self._is_there(destination, order):
            return self._delivered(order, before.location)
        await self._record(order, "delivering")
        location = await asyncio.to_thread(self._put, destination, order, order.source_key)
        now = None if destination.locks else await self.exports.get(key)
        if now and _yields(order, now.value):
            await self._put_right(destination, order, now.value)
            return None
        await self._record(order, "delivered", location=location)
        return self._delivered(order, location)

    async def _is_there(self, destination: Destination, order: ExportDeliver) -> bool:
        return await asyncio.to_thread(destination.holds, order.account, order.file_name, order.bytes)

    def _put(self, destination: Destination, order: ExportDeliver, key: str) -> str:
        return destination.put(self.store, key, order.account, order.file_name)

    async def _put_right(self, destination: Destination, order: ExportDeliver, better: ExportRecord) -> None:
        """Put the more exact file back where no lock kept a less exact one from replacing it.

        The delivery of the exact file writes its record first, so one of the two deliveries sees the other. A file
        that is no longer there was deleted, and stays deleted.
        """
        if destination.locks or not better.source_key:
            return
        if await asyncio.to_thread(destination.holds, order.account, order.file_name, order.bytes):
            with contextlib.suppress(ObjectMissing):
                await asyncio.to_thread(self._put, destination, order, better.source_key)

    async def fail(self, order: ExportDeliver, reason: str) -> ExportFailed:
        """Record that the delivery was given up, and return the event."""
        await self._record(order, "failed", error=reason[:1024])
        return ExportFailed(
            account=order.account, export=order.export, clip=order.clip, accuracy=order.accuracy,
            error=reason[:1024], at_ms=self.clock.now_ms(),
        )  # fmt: skip

    async def _record(
        self,
        order: ExportDeliver,
        state: Literal["delivering", "delivered", "failed"],
        *,
        location: str = "",
        error: str = "",
    ) -> None:
        def write(before: ExportRecord | None) -> ExportRecord | None:
            if _yields(order, before):
                return None
            return ExportRecord(
                account=order.account, export=order.export, clip=order.clip, state=state, accuracy=order.accuracy,
                location=location, error=error, changed_ms=self.clock.now_ms(), source_key=order.source_key,
            )  # fmt: skip

        await self.exports.change(f"{order.account}.{order.export}", write)

    def _delivered(self, order: ExportDeliver, location: str) -> ExportDelivered:
        return ExportDelivered(
            account=order.account, export=order.export, clip=order.clip, accuracy=order.accuracy,
            location=location, bytes=order.bytes, at_ms=self.clock.now_ms(),
        )  # fmt: skip


def _yields(order: ExportDeliver, before: ExportRecord | None) -> bool:
    """Return whether a more exact file is there or may be: its delivery has started and has not failed."""
    return before is not None and before.state != "failed" and _RANK[before.accuracy] > _RANK[order.accuracy]
