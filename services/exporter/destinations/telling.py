"""Tells how far a put is while its bytes are sent in threads, or while a server works and takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from services.exporter.destinations.base import Transfer
from shared.runtime.tasks import beside

EVERY_S: Final = 1.0
ALIVE_S: Final = 10.0


def telling(transfer: Transfer, total: Callable[[], int]) -> AbstractAsyncContextManager[None]:
    """Tell `total()` once a second while the block runs, where it has changed."""
    return beside(_tell(transfer, total))


def waiting(transfer: Transfer, total: int) -> AbstractAsyncContextManager[None]:
    """Tell every 10 s while the block runs that the server works: it joins parts, moves a file, transcodes."""
    return beside(_stay(transfer, total))


async def together(*works: Awaitable[Any]) -> None:
    """Run all at once; the first failure ends the others and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(transfer: Transfer, total: Callable[[], int]) -> None:
    told = 0
    while True:
        await asyncio.sleep(EVERY_S)
        if (now := total()) != told:
            told = now
            await transfer.sent(now)


async def _stay(transfer: Transfer, total: int) -> None:
    while True:
        await transfer.sent(total)
        await asyncio.sleep(ALIVE_S)
