"""Has each event told in its account's turn: one command an event, into the notifier's own work queue (ADR 24)."""

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
"""How many commands are published at once: of an account always one."""
FARTHEST: Final = 10_000
"""How many events are held that the broker has not handed out yet."""
BATCH_BYTES: Final = 4 << 20


class Relay:
    """Passes events on, each account's in their order, and no account's behind another's."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], outbox: Outbox) -> None:
        self._jetstream = jetstream
        self._outbox = outbox
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._ways: dict[str, _Way] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """End what is under way at the end; it is passed on when its event comes again."""
        try:
            yield
        finally:
            await asyncio.gather(*(way.end() for way in self._ways.values()))

    async def pass_on(self, raw: Msg) -> None:
        """Have an event told that the broker has handed out. Unavailable; a ValidationError for a strange subject."""
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

    The broker hands out one at a time, so that their order is kept whatever fails; thousands of one account would hold
    up all others for seconds. So what lies behind it is read, too, and passed on at once: one after the other of an
    account, and a failed one before those behind it. When the broker comes to it, it is done.
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
        """Pass an event on that has `behind` others behind it. Unavailable."""
        while self._begun and (first := next(iter(self._begun))) < tell.position:
            del self._begun[first]  # another instance had it
        begun, task = self._begun.pop(tell.position, (None, None))
        if task is None or begun != tell:
            if tell.position <= self._read_to:  # it comes again, or the broker lost what it had at that sequence
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
        """Pass an event on behind those of its account."""
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
            return  # those behind it are to fail, too
        if self._last.get(account) is task:
            del self._last[account]

    async def _read(self, handed_out: int) -> None:
        """Begin with what lies behind an event, and was not read before."""
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
        with contextlib.suppress(ValidationError):  # it is buried when the broker comes to it
            tell = tell_of(header(message, "Nats-Subject"), position, message.headers)
            self._begun[position] = tell, self._begin(tell)

    async def _forget(self) -> None:
        """Begin anew behind the next event that the broker hands out."""
        if self._reading is not None:
            await end_task(self._reading)
        self._begun.clear()
        self._last.clear()
        self._read_to = 0

    async def end(self) -> None:
        """End."""
        await self._forget()
        await asyncio.gather(*map(end_task, list(self._all)))
