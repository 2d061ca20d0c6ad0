"""Waiting for a thread that tells nothing before its end, without being taken for stuck."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from services.exporter.destinations.base import Transfer

LOOK: Final = timedelta(seconds=5)
LONGEST: Final = timedelta(minutes=5)
T = TypeVar("T")


async def patiently(work: Callable[[], T], transfer: Transfer, total: int) -> T:
    """Run `work` in a thread and return its result; tell meanwhile that `total` bytes have been taken.

    No thread can be stopped. When this is cancelled, it ends with the thread, or `LONGEST` later: so what the thread
    writes last is there before anybody looks at what this delivery has left.
    """
    working = asyncio.get_running_loop().run_in_executor(None, work)
    working.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        while not (await asyncio.wait({working}, timeout=LOOK.total_seconds()))[0]:
            await transfer.sent(total)
        return working.result()
    except asyncio.CancelledError:
        await _outlast(working)
        raise


async def _outlast(working: asyncio.Future[T]) -> None:
    """Wait for a thread's end, whatever is cancelled meanwhile, but not for ever."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST.total_seconds()
    while not working.done() and loop.time() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({working}, timeout=end - loop.time())
