"""Whether there is room to record: recording stops below the reserve, until there is clearly more room again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.store import StoreFull
from shared.store.reserve import MIB, Reserve

log = get_logger()
LOOK: Final = timedelta(seconds=1)


class Disk:
    """Watches the store's file system; usable from any thread. `on_full` ends the recordings."""

    def __init__(self, reserve: Reserve, on_full: Callable[[], None]) -> None:
        self._reserve = reserve
        self._on_full = on_full
        self._lock = threading.Lock()
        self._fault = ""

    def look(self) -> str:
        """Measure, and return why nothing can be recorded; "" when there is room."""
        try:
            room = self._reserve.room()
        except OSError as error:  # a recording gets the store's own error
            log.warning("disk.not_measured", error=error.strerror)
            return self._fault
        free, kept, ample = room.free, self._reserve.kept(room), self._reserve.ample(room)
        with self._lock:
            was_full = bool(self._fault)
            full = free < (ample if was_full else kept)
            self._fault = f"full: {free // MIB} MiB are free, recording needs {ample // MIB} MiB" if full else ""
            if full and not was_full:
                log.error("disk.full", free_mib=free // MIB, reserve_mib=kept // MIB, records_again_mib=ample // MIB)
            elif was_full and not full:
                log.info("disk.room_again", free_mib=free // MIB)
            return self._fault

    def require(self) -> None:
        """Raise StoreFull when there is no room for a publisher."""
        if fault := self.look():
            raise StoreFull(f"the disk is {fault}")

    def faults(self) -> dict[str, str]:
        """Return the disk's fault for the readiness probe, if any."""
        return {"disk": self._fault} if self._fault else {}

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Measure every second while the block runs."""
        await asyncio.to_thread(self.look)
        async with beside(self._watch()):
            yield

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK.total_seconds())
            if await asyncio.to_thread(self.look):
                self._on_full()  # each time: a publisher may have connected while the others were being ended
