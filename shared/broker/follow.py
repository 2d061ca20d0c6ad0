"""Follow the keys of a bucket with a consumer whose heartbeat detects within 3 s that its node is gone.

nats-py's own watch asks for a heartbeat every 5 s, recreates its consumer after 20 s without one, and follows nothing
any more when that fails; in a cluster, an ephemeral consumer lives on one node.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

HEARTBEAT: Final = timedelta(seconds=1)
SILENCE: Final = timedelta(seconds=3)
CONSUMER_LIFE: Final = timedelta(seconds=30)
WAITING: Final = 1024  # messages; the broker sends no more until these are taken (flow control)
LAST: Final = "Nats-Last-Consumer"
STALLED: Final = "Nats-Consumer-Stalled"


class LostTrack(NatsError):  # noqa: N818  names what happened
    """The consumer is gone, or messages that it sent are missing: follow with a new consumer."""


class Follower:
    """Reads the messages of one consumer in order and without holes."""

    def __init__(self, js: JetStreamContext, stream: str) -> None:
        self._client = js._nc  # noqa: SLF001  a context has no public attribute for its connection
        self._js = js
        self._stream = stream
        self._waiting: asyncio.Queue[Msg] = asyncio.Queue(WAITING)
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._consumed = 0
        self._alive = 0.0
        self.name = ""
        self.pending = 0

    async def begin(self, subject: str) -> None:
        """Create the consumer: it sends the last message of each subject, then all new ones."""
        self._inbox = inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(inbox, cb=self._take)
        config = ConsumerConfig(
            filter_subject=subject, deliver_subject=inbox, deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            ack_policy=AckPolicy.NONE, max_deliver=1, mem_storage=True, num_replicas=1,
            flow_control=True, idle_heartbeat=HEARTBEAT.total_seconds(),
            inactive_threshold=CONSUMER_LIFE.total_seconds(),
        )  # fmt: skip
        made = await self._js.add_consumer(self._stream, config)
        self._alive = asyncio.get_running_loop().time()
        self.name = made.name
        self.pending = (made.num_pending or 0) + (made.delivered.consumer_seq if made.delivered else 0)

    async def end(self) -> None:
        """Delete the consumer; the broker deletes it by itself when the request does not reach it."""
        with contextlib.suppress(NatsError, APIError, TimeoutError, OSError):
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            if self.name:
                await self._js.delete_consumer(self._stream, self.name)

    async def _take(self, message: Msg) -> None:
        self._alive = asyncio.get_running_loop().time()
        if message.subject != self._inbox:
            return await self._waiting.put(message)
        headers = message.headers or {}  # a status message: answer flow control, compare a heartbeat
        if answer := message.reply or headers.get(STALLED):
            await self._client.publish(answer)
        if LAST in headers:
            await self._waiting.put(message)
        return None

    async def next(self) -> Msg | None:
        """Return the next message; None when there was none for a second. Raise LostTrack."""
        try:
            if self._waiting.empty():  # wait_for creates a task
                message = await asyncio.wait_for(self._waiting.get(), HEARTBEAT.total_seconds())
            else:
                message = self._waiting.get_nowait()
        except TimeoutError:
            if asyncio.get_running_loop().time() - self._alive > SILENCE.total_seconds():
                raise LostTrack("the consumer is silent") from None
            return None
        if message.subject == self._inbox:
            if int((message.headers or {})[LAST]) > self._consumed:
                raise LostTrack("messages are missing")
            return None
        self._consumed += 1
        if message.metadata.sequence.consumer != self._consumed:
            raise LostTrack("messages are missing")
        return message

    async def is_read(self) -> bool:
        """Return whether everything pending has been sent; pending messages may have been removed meanwhile."""
        info = await self._js.consumer_info(self._stream, self.name)
        return not info.num_pending and (info.delivered.consumer_seq if info.delivered else 0) == self._consumed


@contextlib.asynccontextmanager
async def following(js: JetStreamContext, stream: str, subject: str) -> AsyncIterator[Follower]:
    """Follow a pattern of subjects of a stream while the block runs; raise NatsError or TimeoutError on failure."""
    follower = Follower(js, stream)
    try:
        await follower.begin(subject)
        yield follower
    finally:
        await follower.end()
