"""Removes files that a killed clipper left half written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
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
# With a store elsewhere, a whole file is uploaded, which changes nothing in it; one that is this old was given up.
GIVEN_UP: Final = timedelta(days=1)
EVERY: Final = timedelta(hours=1)
MS: Final = timedelta(milliseconds=1)


def sweep(store: MediaStore, folder: str, now_ms: int, *, older: timedelta = OLD) -> int:
    """Remove the drafts below a folder that have not changed for `older`, and return their number. Blocks.

    Of a store elsewhere, also what was not uploaded within a day, and the folders that are empty since then.
    """
    below = store.begin(f"{folder}/x").parent
    removed = _remove(below.rglob(PATTERN), now_ms, older)
    if store.fetches:
        every = sorted(below.rglob("*"), reverse=True)
        removed += _remove((path for path in every if path.is_file()), now_ms, GIVEN_UP)
        for path in every:
            with contextlib.suppress(OSError):  # a file, or not empty, or gone
                if path.stat().st_mtime_ns < (now_ms - GIVEN_UP // MS) * 1_000_000:
                    path.rmdir()
    return removed


def _remove(files: Iterable[Path], now_ms: int, older: timedelta) -> int:
    removed = 0
    before_ms = now_ms - older // MS
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # renamed to its final name, or removed by another instance
            if file.stat().st_mtime_ns < before_ms * 1_000_000:
                file.unlink()
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
