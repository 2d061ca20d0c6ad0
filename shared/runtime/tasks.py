"""Background tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

AGAIN_S: Final = 0.5


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it has ended; drop its exception.

    One cancellation is not enough: before Python 3.12, `asyncio.wait_for` swallows a cancellation that arrives together
    with its result (https://github.com/python/cpython/issues/86296), and nats-py uses it.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_S)


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run a coroutine as a background task while the block runs, and cancel it when the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end_task(task)
