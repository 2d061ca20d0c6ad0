"""Waiting for a thread that tells nothing before its end, without being taken for stuck."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from services.exporter.destinations.base import Transfer

LOOK: Final = timedelta(seconds=5)
T = TypeVar("T")


async def patiently(work: Callable[[], T], transfer: Transfer, total: int) -> T:
    """Run `work` in a thread and return its result; tell meanwhile that `total` bytes have been taken.

    When this is cancelled, the thread goes on to its end, and nobody hears of it.
    """
    working = asyncio.get_running_loop().run_in_executor(None, work)
    working.add_done_callback(lambda done: done.cancelled() or done.exception())
    while not (await asyncio.wait({working}, timeout=LOOK.total_seconds()))[0]:
        await transfer.sent(total)
    return working.result()
