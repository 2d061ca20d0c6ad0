"""In-progress signals, so that a message whose handler takes longer than ack_wait is not delivered twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.runtime.tasks import beside


@contextlib.asynccontextmanager
async def heartbeat(message: Msg, every: timedelta) -> AsyncIterator[None]:
    """Signal to the broker at each interval `every` that `message` is in progress, while the block runs."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            with contextlib.suppress(NatsError):  # disconnected: the next beat may get through
                await message.in_progress()

    async with beside(beat()):
        yield
