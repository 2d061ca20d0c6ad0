"""Waits briefly for another service, so that an answer can say that its work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_S: Final = 2.0
LOOK_S: Final = 0.02


async def soon(done: Callable[[], Awaitable[bool]]) -> bool:
    """Poll until `done` returns true, for 2 s at most; return whether it did."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    while True:
        if await done():
            return True
        if loop.time() > until:
            return False
        await asyncio.sleep(LOOK_S)
