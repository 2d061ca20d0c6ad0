"""Workers of a work queue in which accounts take turns, and what they did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from nats.js import JetStreamContext

from shared.broker import streams
from shared.messages.clips import ClipRefine
from shared.runtime.service import Service, make_service
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import (
    in_queue,
    new_id,
    running,
    send,
    settings_for,
)

QUEUE = "clipper-refine"


STREAM = streams.consumer(QUEUE).stream


class Bench:
    """Instances of a service whose work lasts until the test ends it, and the order in which it started."""

    def __init__(self, nats: NatsServer, folder: Path) -> None:
        self._settings = settings_for(nats, folder)
        self.instances: list[Service] = []
        self.starts: list[str] = []
        self.clips: list[str] = []
        self.go = asyncio.Semaphore(0)

    @asynccontextmanager
    async def running(self, instances: int) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for _ in range(instances):
                service = make_service("clipper", self._settings)
                service.handle(QUEUE, self._work)
                self.instances.append(service)
                await stack.enter_async_context(running(service))
            yield
            for _ in range(1000):
                self.go.release()

    async def _work(self, message: ClipRefine) -> None:
        self.starts.append(message.account)
        self.clips.append(message.clip)
        await self.go.acquire()

    async def started(self, count: int) -> None:
        await until(lambda: asyncio.sleep(0, len(self.starts) >= count))

    async def has_heard(self) -> None:
        """Wait until each instance has received what the broker sent it before."""
        for service in self.instances:
            await service.broker.ping(5)
            await asyncio.sleep(0)


async def order(js: JetStreamContext, account: str, count: int = 1) -> list[str]:
    clips = [new_id() for _ in range(count)]
    for clip in clips:
        await send(js, ClipRefine(account=account, clip=clip))
    return clips


async def nothing_in(js: JetStreamContext) -> bool:
    return not await in_queue(js, QUEUE)


async def no_consumer(js: JetStreamContext) -> bool:
    return not await js.consumers_info(STREAM)
