"""Waits briefly for another service, so that an answer can say that its work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

PATIENCE: Final = timedelta(seconds=2)
LOOK: Final = timedelta(milliseconds=20)


async def soon(done: Callable[[], Awaitable[bool]], patience: timedelta = PATIENCE, look: timedelta = LOOK) -> bool:
    """Poll until `done` returns true, for `patience` at most; return whether it did."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience.total_seconds()
    while True:
        if await done():
            return True
        if loop.time() > until:
            return False
        await asyncio.sleep(look.total_seconds())
