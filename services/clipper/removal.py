"""Removes clips: those that a client deletes, and those that have passed their retention; and ranges left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.clipper.ranges import SourceRanges
from services.clipper.state import ENDED
from shared.broker.kv import Bucket
from shared.errors import ReelayError
from shared.messages.clips import ClipDelete, ClipRecord
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.store import MediaStore

log = get_logger()
EVERY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Removal:
    """Removes clips that have ended: files and range first, then the record. Each step may be repeated."""

    bucket: Bucket[ClipRecord]
    ranges: SourceRanges
    store: MediaStore
    clock: Clock
    keep: timedelta

    async def delete(self, wish: ClipDelete) -> None:
        """Remove a clip that has ended; do nothing when it is already gone or still being made."""
        stored = await self.bucket.get(f"{wish.account}.{wish.clip}")
        if stored is not None and stored.value.state in ENDED:
            await self._remove(stored.value)

    async def expire(self) -> int:
        """Remove the clips that ended longer ago than `keep` (zero keeps all), and return their number."""
        if not self.keep:
            return 0
        before_ms = self.clock.now_ms() - self.keep // timedelta(milliseconds=1)
        removed = 0
        async for changes in self.bucket.changes("*.*"):
            for record in (change.value for change in changes):
                if record and record.state in ENDED and (record.finished_ms or record.changed_ms) <= before_ms:
                    await self._remove(record)
                    removed += 1
        return removed

    async def _remove(self, record: ClipRecord) -> None:
        folder = f"clips/{record.account}/{record.clip}"
        await asyncio.to_thread(lambda: [self.store.delete(one.key) for one in list(self.store.list(folder))])
        await self.ranges.release(record)
        await self.bucket.delete(f"{record.account}.{record.clip}")
        log.info("clip.removed", clip=record.clip)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remove expired clips and ranges left behind at the start of the block and every hour in it."""

        async def work() -> None:
            while True:
                try:
                    if removed := await self.expire():
                        log.info("clip.retention.done", clips=removed)
                    if released := await self.ranges.sweep():
                        log.info("clip.ranges.released", ranges=released)
                except ReelayError as error:
                    log.warning("clip.retention.later", error=str(error))
                await asyncio.sleep(EVERY.total_seconds())

        async with beside(work()):
            yield
