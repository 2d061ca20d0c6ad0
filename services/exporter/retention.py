"""Removes library files that are older than the setting, and locks and drafts of killed deliveries always."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from services.exporter.destinations.library import Shelf
from shared.errors import ReelayError
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside

log = get_logger()
EVERY: Final = timedelta(hours=1)


@contextlib.asynccontextmanager
async def expiring(library: Shelf, clock: Clock, keep: timedelta) -> AsyncIterator[None]:
    """Sweep the library at the start of the block and every hour in it; a `keep` of zero keeps all files."""

    async def work() -> None:
        while True:
            before_ms = clock.now_ms() - keep // timedelta(milliseconds=1) if keep else 0
            try:
                if removed := await asyncio.to_thread(library.expire, before_ms):
                    log.info("library.expired", files=removed)
            except (ReelayError, OSError) as error:
                log.warning("library.retention.later", error=str(error))
            await asyncio.sleep(EVERY.total_seconds())

    async with beside(work()):
        yield
