"""Removes files that a killed clipper left half written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.store import MediaStore

log = get_logger()
FOLDER: Final = "clips"
PATTERN: Final = ".*.part"
# A file that is being written changes all the time; one that has not changed for this long is abandoned.
OLD: Final = timedelta(minutes=10)
EVERY: Final = timedelta(hours=1)


def sweep(store: MediaStore, folder: str, now_ms: int, *, older: timedelta = OLD) -> int:
    """Remove the drafts below a folder that have not changed for `older`, and return their number. Blocks."""
    removed = 0
    before_ms = now_ms - older // timedelta(milliseconds=1)
    for draft in store.begin(f"{folder}/x").parent.rglob(PATTERN):
        with contextlib.suppress(FileNotFoundError):  # renamed to its final name, or removed by another instance
            if draft.stat().st_mtime_ns < before_ms * 1_000_000:
                draft.unlink()
                removed += 1
    return removed


@contextlib.asynccontextmanager
async def sweeping(store: MediaStore, clock: Clock) -> AsyncIterator[None]:
    """Sweep all clips' folders at the start of the block and every hour in it."""

    async def work() -> None:
        while True:
            try:
                if removed := await asyncio.to_thread(sweep, store, FOLDER, clock.now_ms()):
                    log.info("clip.leftovers.removed", files=removed)
            except OSError as error:
                log.warning("clip.leftovers.kept", error=str(error))
            await asyncio.sleep(EVERY.total_seconds())

    async with beside(work()):
        yield
