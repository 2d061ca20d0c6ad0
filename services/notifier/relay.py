"""Publishes one command for each event to the notifier's work queue, where accounts take turns (ADR 24)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from pydantic import ValidationError

from services.notifier.events import tell_of
from shared.broker.batches import BATCH, has_more, header, read_batch, sequence_of
from shared.broker.bus import Outbox
from shared.broker.streams import EVENTS, consumer
from shared.errors import Unavailable
from shared.messages.notifications import NotificationTell
from shared.runtime.logging import get_logger
from shared.runtime.tasks import end_task

log = get_logger()
AT_ONCE: Final = 64
"""How many commands are published at once; of one account at most one."""
FARTHEST: Final = 10_000
"""How many events are read ahead of the broker's delivery."""
BATCH_BYTES: Final = 4 << 20


class Relay:
    """Forwards events: in order within an account; no account waits for another."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], outbox: Outbox) -> None:
        self._jetstream = jetstream
        self._outbox = outbox
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._ways: dict[str, _Way] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Cancel unfinished publishing at the end; the broker redelivers these events."""
        try:
            yield
        finally:
            await asyncio.gather(*(way.end() for way in self._ways.values()))

    async def pass_on(self, raw: Msg) -> None:
        """Forward an event that the broker delivered. Raise Unavailable; ValidationError for an unknown subject."""
        spec = consumer(raw.metadata.consumer)
        if spec.durable not in self._ways:
            self._ways[spec.durable] = _Way(self._jetstream, spec.filter, self._emit)
        tell = tell_of(raw.subject, raw.metadata.sequence.stream, raw.headers)
        await self._ways[spec.durable].pass_on(tell, raw.metadata.num_pending)

    async def _emit(self, tell: NotificationTell) -> None:
        async with self._slots:
            await self._outbox.emit(tell)


class _Way:
    """One consumer's events.

    The broker delivers one at a time, so that their order is kept whatever fails; thousands of one account would delay
    all others for seconds. So the events after it are read ahead and forwarded at once: in order within an account, and
    a failed one before those after it. When the broker delivers such an event, it is already done.
    """

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        subjects: str,
        emit: Callable[[NotificationTell], Awaitable[None]],
    ) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._emit = emit
        self._begun: dict[int, tuple[NotificationTell, asyncio.Task[None]]] = {}
        self._last: dict[str, asyncio.Task[None]] = {}
        self._all: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._read_to = 0

    async def pass_on(self, tell: NotificationTell, behind: int) -> None:
        """Forward an event that is followed by `behind` others. Raise Unavailable."""
        while self._begun and (first := next(iter(self._begun))) < tell.position:
            del self._begun[first]  # delivered to another instance
        begun, task = self._begun.pop(tell.position, (None, None))
        if task is None or begun != tell:
            if tell.position <= self._read_to:  # a redelivery, or the broker lost its event at that sequence
                await self._forget()
            task = self._begin(tell)
        if behind > len(self._begun) and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(tell.position))
        try:
            await task
        except Unavailable:
            await self._forget()
            raise

    def _begin(self, tell: NotificationTell) -> asyncio.Task[None]:
        """Start to forward an event after the earlier ones of its account."""
        task = asyncio.create_task(self._after(self._last.get(tell.account), tell))
        self._last[tell.account] = task
        self._all.add(task)
        task.add_done_callback(lambda done: self._ended(tell.account, done))
        return task

    async def _after(self, before: asyncio.Task[None] | None, tell: NotificationTell) -> None:
        if before is not None:
            await asyncio.wait({before})
            if before.cancelled() or before.exception() is not None:
                raise Unavailable("the one before it was not passed on")
        await self._emit(tell)

    def _ended(self, account: str, task: asyncio.Task[None]) -> None:
        self._all.discard(task)
        if task.cancelled() or task.exception() is not None:
            return  # the events after it must fail, too
        if self._last.get(account) is task:
            del self._last[account]

    async def _read(self, handed_out: int) -> None:
        """Start to forward the events after a sequence that were not read before."""
        self._read_to = max(self._read_to, handed_out)
        try:
            while len(self._begun) < FARTHEST:
                request = {
                    "seq": self._read_to + 1,
                    "next_by_subj": self._subjects,
                    "batch": BATCH,
                    "max_bytes": BATCH_BYTES,
                }
                messages = await read_batch(self._jetstream(), EVENTS, request)
                for message in messages:
                    self._take(message)
                if not has_more(messages):
                    return
        except Unavailable as error:
            log.info("relay.read_later", error=str(error))

    def _take(self, message: Msg) -> None:
        self._read_to = position = sequence_of(message)
        with contextlib.suppress(ValidationError):  # it becomes a dead letter when the broker delivers it
            tell = tell_of(header(message, "Nats-Subject"), position, message.headers)
            self._begun[position] = tell, self._begin(tell)

    async def _forget(self) -> None:
        """Forget what was read ahead; reading starts again after the next event that the broker delivers."""
        if self._reading is not None:
            await end_task(self._reading)
        self._begun.clear()
        self._last.clear()
        self._read_to = 0

    async def end(self) -> None:
        """Cancel reading and all unfinished publishing."""
        await self._forget()
        await asyncio.gather(*map(end_task, list(self._all)))
