"""Messages of a pull consumer, some at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

READ_TIMEOUT: Final = timedelta(seconds=5)
FAULTS: Final = (NatsError, APIError, TimeoutError, OSError)


@contextlib.asynccontextmanager
async def pulling(js: JetStreamContext, consumer: str) -> AsyncIterator[Callable[[int], Awaitable[list[Msg]]]]:
    """Yield a function that takes up to so many messages of a consumer, at a third of the cost of `fetch`."""
    client = js._nc  # noqa: SLF001  a context has no public attribute for its connection
    inbox = client.new_inbox()
    taken: list[Msg] = []
    enough = asyncio.Event()
    wanted = 0

    async def collect(message: Msg) -> None:
        if message.subject == inbox:  # a status message: there are no more
            enough.set()
            return
        taken.append(message)
        if len(taken) >= wanted:
            enough.set()

    async def pull(count: int) -> list[Msg]:
        nonlocal wanted
        wanted = count
        taken.clear()
        enough.clear()
        request = {"batch": count, "expires": int(READ_TIMEOUT.total_seconds() * 1e9)}
        subject = f"{js._prefix}.CONSUMER.MSG.NEXT.{consumer}"  # noqa: SLF001  as above
        await client.publish(subject, json.dumps(request).encode(), reply=inbox)
        await asyncio.wait_for(enough.wait(), 2 * READ_TIMEOUT.total_seconds())
        return list(taken)

    subscription = await client.subscribe(inbox, cb=collect)
    try:
        yield pull
    finally:
        with contextlib.suppress(*FAULTS):
            await subscription.unsubscribe()
