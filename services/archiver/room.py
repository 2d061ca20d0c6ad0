"""Frees disk space: deletes the oldest hours of all recordings, before recording would have to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.archiver.records import RecordingRecords
from services.archiver.retention import Retention, Split, touched
from shared.errors import ReelayError
from shared.messages.locks import Lock
from shared.messages.recordings import HourSummary
from shared.recording.hours import hour_of
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.store.reserve import Reserve

log = get_logger()
LOOK: Final = timedelta(seconds=5)


@dataclass(slots=True)
class RoomMaker:
    """Checks the disk now and then.

    Hours that are being written stay, however short it is, and those that are locked or that a clip in work needs. So
    do hours without media in the store: when the folder is not mounted and the disk below it is short, all hours would
    be deleted one by one without freeing space.
    """

    reserve: Reserve
    records: RecordingRecords
    retention: Retention
    clock: Clock
    told: bool = False

    @property
    def is_short(self) -> bool:
        """Return whether less than four times the reserve is free; OSError when it cannot be measured."""
        if self.reserve.size == 0:
            return False
        room = self.reserve.room()
        return room.free < self.reserve.short(room)

    async def run_once(self) -> int:
        """Delete hours, the oldest first, until there is room, and return their number."""
        if not self.is_short:
            self.told = False
            return 0
        now = hour_of(self.clock.now_ms())
        found = [(hour, record) for record in await self.records.recordings() for hour in record.hours]
        found = sorted((one for one in found if one[0].hour < now), key=lambda one: (one[0].wall_start_ms, one[0].key))
        number, spared = 0, dict[str, tuple[Lock, ...]]()
        for hour, record in found:
            if record.event not in spared:
                spared[record.event] = await self.records.spared(record.account, record.event)
            if touched(spared[record.event], hour):
                continue
            if not await self.retention.has_media(record.event, hour):
                continue
            number += 1
            await self.retention.expire(record.account, record.event, only(hour))
            log.warning("recording.hour.deleted_for_room", event_id=record.event, hour=hour.hour, bytes=hour.bytes)
            if not self.is_short:
                return number
        if not self.told:
            log.error("disk.short", recordings="nothing of them is left that may go")
            self.told = True
        return number

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check every 5 s while the block runs."""

        async def work() -> None:
            while True:
                try:
                    await self.run_once()
                except (ReelayError, OSError) as error:
                    log.warning("disk.short.later", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(LOOK.total_seconds())

        async with beside(work()):
            yield


def only(wanted: HourSummary) -> Split:
    """Return a split that deletes one hour."""
    return lambda hour: (None, hour) if hour.key == wanted.key else (hour, None)
