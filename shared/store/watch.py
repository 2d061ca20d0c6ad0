"""Checks in the background whether the media store can be written and read, for readiness."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.errors import ReelayError
from shared.runtime.logging import get_logger
from shared.runtime.settings import Settings
from shared.store.base import MediaStore
from shared.store.opening import open_store

log = get_logger()
WRITERS: Final = frozenset({"ingester", "archiver", "clipper"})
READERS: Final = frozenset({"gateway", "restreamer"})
EXPORTER: Final = "exporter"  # writes where the library is, which is the store only in S3
OFFLINE: Final = frozenset({"ingester", "gateway"})
"""Services that do most of their work while S3 is away (the ingester records into `spool/`) and so stay ready."""
LOOK_S: Final = 30.0
LOOK_AGAIN_S: Final = 5.0
PATIENCE_S: Final = 8.0
SILENT: Final = "does not answer"


class StoreWatch:
    """Writes a small object and reads it back, or, for a service that only reads, lists the store.

    A failed store is a fault; for a service that works without it, only until it has worked once.
    """

    def __init__(self, service: str, settings: Settings) -> None:
        self._settings = settings
        self._name = service
        remote = settings.store.startswith("s3://")
        self.wanted = service in WRITERS | READERS | {EXPORTER}
        self._writes = service in WRITERS or (service == EXPORTER and remote)
        self._goes_on = remote and service in OFFLINE
        self._store: MediaStore | None = None
        self._fault = ""
        self._worked = False
        self._running: asyncio.Future[str] | None = None

    def faults(self) -> dict[str, str]:
        """Return what is wrong with the store, when the service needs it."""
        return {"store": self._fault} if self._fault and not (self._goes_on and self._worked) else {}

    def notes(self) -> dict[str, str]:
        """Return what is wrong with the store, when the service works without it."""
        return {"store": self._fault} if self._fault and self._goes_on and self._worked else {}

    async def look(self) -> None:
        """Check once, for at most 8 s; a check that hangs stays in its thread, and no other starts meanwhile."""
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().run_in_executor(None, self._check)
        try:
            fault = await asyncio.wait_for(asyncio.shield(self._running), PATIENCE_S)
        except TimeoutError:
            fault = SILENT
        self._worked |= not fault
        self._say(fault)

    def _check(self) -> str:
        try:
            if self._store is None:
                self._store = open_store(self._settings, hurried=True)
            self._store.check(self._name, writes=self._writes)
        except ReelayError as error:
            return str(error)
        return ""

    def _say(self, fault: str) -> None:
        if fault and not self._fault:
            log.warning("store.fails", error=fault)
        elif self._fault and not fault:
            log.info("store.works_again")
        self._fault = fault

    async def watching(self) -> None:
        """Check until the task is cancelled."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S if self._fault else LOOK_S)
            await self.look()
