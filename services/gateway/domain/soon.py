"""Waiting a little for what another service does, so that an answer can say that it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

PATIENCE: Final = timedelta(seconds=2)
LOOK: Final = timedelta(milliseconds=20)


async def soon(done: Callable[[], Awaitable[bool]]) -> bool:
    """Look until something is done, for 2 s at most; whether it is."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE.total_seconds()
    while True:
        if await done():
            return True
        if loop.time() > until:
            return False
        await asyncio.sleep(LOOK.total_seconds())
