"""Feed a handler from a work queue so that accounts take turns (ADR 21); rota.py decides whose turn it is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header
from nats.js.errors import APIError

from shared.broker.rota import Rota
from shared.broker.streams import ConsumerSpec
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside, end_task

log = get_logger()
FAULTS: Final = (NatsError, APIError, TimeoutError, OSError)
LOOK: Final = timedelta(seconds=2)
LOOK_SHARE: Final = 20
"""Looking for missed work takes at most 1/20 of the time."""
LONGEST_LOOK_PAUSE: Final = timedelta(seconds=10)
LOOK_PAGES: Final = 10
ASK: Final = timedelta(seconds=5)
PAUSE: Final = timedelta(milliseconds=500)
POLL: Final = timedelta(milliseconds=10)
UNUSED: Final = timedelta(minutes=2)
NO_CONSUMER: Final = "503"  # no responders
SIGN: Final = "="
"""Separates the queue's name from the account in a consumer's name; no queue's name contains it."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ONE: Final = json.dumps({"batch": 1, "no_wait": True}).encode()
# An ordered consumer does not answer while a message is in progress elsewhere, so this request expires after 250 ms.
_IN_ORDER: Final = json.dumps({"batch": 1, "expires": 250_000_000}).encode()


GiveBack = Callable[[Msg], Awaitable[None]]


class Subscriber(Protocol):
    """The part of FastStream's subscriber used here: `consume` handles a message, through all middlewares."""

    running: bool

    async def consume(self, msg: Msg) -> Any:
        """Handle a message."""


def turn_consumer(durable: str, account: str) -> str:
    """Return the name of an account's consumer of a queue; unfit account names are replaced by their hash."""
    digest = hashlib.sha256(account.encode()).hexdigest()[:32]
    return f"{durable}{SIGN}{account if _PLAIN.fullmatch(account) else SIGN + digest}"


def queue_of(consumer: str) -> str:
    """Return the durable name that the tables have for any consumer."""
    return consumer.partition(SIGN)[0]


def account_config(spec: ConsumerSpec, account: str) -> ConsumerConfig:
    """Return the server's configuration of an account's consumer of a queue. The middleware counts the tries."""
    return ConsumerConfig(
        name=turn_consumer(spec.durable, account),
        durable_name=turn_consumer(spec.durable, account),
        filter_subject=f"{spec.channel}.{account}.*",
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=spec.ack_wait.total_seconds(),
        max_deliver=-1,
        max_ack_pending=spec.max_ack_pending,
        inactive_threshold=UNUSED.total_seconds(),
    )


class _Desk:
    """Asks for one message at a time, with its own inbox.

    nats-py's `request` matches answers by their subject, but a message keeps the subject that it was published to.
    """

    def __init__(self, late: Callable[[Msg], None]) -> None:
        self._late = late
        self._inbox = ""
        self._asked = 0
        self._answer: asyncio.Future[Msg] | None = None
        self._subscription: Subscription | None = None

    async def ask(self, js: JetStreamContext, consumer: str, body: bytes) -> Msg:
        """Return a message, or a status message in place of one. Raise TimeoutError when nothing answers."""
        client = js._nc  # noqa: SLF001  a context has no public attribute for its connection
        if self._subscription is None:
            self._inbox = client.new_inbox()
            self._subscription = await client.subscribe(f"{self._inbox}.*", cb=self._take)
        self._asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        subject = f"{js._prefix}.CONSUMER.MSG.NEXT.{consumer}"  # noqa: SLF001  as above
        await client.publish(subject, body, reply=f"{self._inbox}.{self._asked}")
        async with asyncio.timeout(ASK.total_seconds()):
            return await self._answer

    async def _take(self, message: Msg) -> None:
        """Handle an answer. A message that comes too late is sent back, a late status is dropped."""
        expected = bool(message.reply) or message.subject == f"{self._inbox}.{self._asked}"
        if expected and self._answer is not None and not self._answer.done():
            self._answer.set_result(message)
        elif message.reply:
            self._late(message)

    async def close(self) -> None:
        """Unsubscribe the inbox."""
        if self._subscription is not None:
            with contextlib.suppress(*FAULTS):
                await self._subscription.unsubscribe()


async def _nak(message: Msg) -> None:
    await message.nak()


class Turns:
    """Asks for messages one by one, and lets `spec.workers` of them be handled at once.

    It takes the place of FastStream's subscription: the subscriber creates none of its own, and unsubscribes this one
    when it is stopped and running handlers have ended.
    """

    def __init__(self, jetstream: Callable[[], JetStreamContext], spec: ConsumerSpec, subscriber: Subscriber) -> None:
        self._jetstream = jetstream
        self._spec = spec
        self._subscriber = subscriber
        self._rota = Rota(ordered=spec.ordered)
        self._desks = [_Desk(self._late) for _ in range(spec.workers)]
        self.give_back: GiveBack = _nak
        """Sends back a message that no worker has started."""
        self._free = asyncio.Semaphore(spec.workers)
        self._heard = asyncio.Event()
        self._works: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Feed the handler while its subscriber and the block run."""
        self._feeding = asyncio.create_task(self._feed())
        try:
            yield
        finally:
            await self.unsubscribe()

    async def unsubscribe(self) -> None:
        """Stop feeding; running work is cancelled, and its messages come again."""
        if self._feeding:
            await end_task(self._feeding)
        await asyncio.gather(*map(end_task, list(self._works)))

    def again(self, subject: str, delay: timedelta) -> None:
        """Record that a message was sent back and comes again after a delay."""
        if account := self._account(subject):
            self._rota.expect(account, self._now() + delay.total_seconds())
            self._heard.set()

    def faults(self) -> dict[str, str]:
        """Return a fault for readiness when feeding has ended by itself."""
        ended = self._feeding is not None and self._feeding.done() and self._subscriber.running
        return {self._spec.durable: "takes no work"} if ended else {}

    async def _feed(self) -> None:
        while not self._subscriber.running:  # noqa: ASYNC110  FastStream has no event for its start
            await asyncio.sleep(POLL.total_seconds())
        client = self._jetstream()._nc  # noqa: SLF001  as above
        heard = await client.subscribe(f"{self._spec.channel}.*.*", cb=self._hear)
        try:
            async with beside(self._look()):
                while self._subscriber.running:
                    await self._give_turn()
        finally:
            with contextlib.suppress(*FAULTS):
                await heard.unsubscribe()
            await asyncio.gather(*(desk.close() for desk in self._desks))

    async def _give_turn(self) -> None:
        """Ask the next account as soon as a worker is free and an account is due."""
        await self._free.acquire()
        asked = self._now()
        account = self._rota.next(asked)
        while account is None:
            self._heard.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._rota.soonest() - asked, LOOK.total_seconds())):
                    await self._heard.wait()
            asked = self._now()
            account = self._rota.next(asked)
        self._begin(self._serve(self._desks.pop(), account, asked))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    def _late(self, message: Msg) -> None:
        self._begin(self._back(message))  # in a task: the next answer may be queued after this one

    async def _serve(self, desk: _Desk, account: str, asked: float) -> None:
        message = None
        try:
            try:
                message = await self._take(desk, account)
            finally:
                self._rota.asked(account, asked, begins=message is not None)
            self._heard.set()  # the account can be asked for more
            if message is not None:
                try:
                    await self._work(message)
                finally:
                    self._rota.ended(account, self._now())
        finally:
            self._desks.append(desk)
            self._free.release()
            self._heard.set()

    async def _work(self, message: Msg) -> None:
        if self._subscriber.running:
            await self._subscriber.consume(message)
        else:
            await self._back(message)

    async def _back(self, message: Msg) -> None:
        with contextlib.suppress(*FAULTS):
            await self.give_back(message)

    async def _take(self, desk: _Desk, account: str) -> Msg | None:
        """Return one message of an account, None when there is none or on failure: the next look asks again."""
        try:
            return await self._ask(desk, account)
        except APIError as error:  # only this account's consumer fails: the others go on
            log.warning("turns.refused", queue=self._spec.durable, account=account, error=str(error))
        except FAULTS as error:
            log.info("turns.later", queue=self._spec.durable, error=type(error).__name__)
            await asyncio.sleep(PAUSE.total_seconds())
        return None

    async def _ask(self, desk: _Desk, account: str) -> Msg | None:
        js, spec = self._jetstream(), self._spec
        name, body = f"{spec.stream}.{turn_consumer(spec.durable, account)}", _IN_ORDER if spec.ordered else _ONE
        answer = await desk.ask(js, name, body)
        if answer.header and answer.header.get(Header.STATUS) == NO_CONSUMER:
            await js.add_consumer(spec.stream, account_config(spec, account))
            answer = await desk.ask(js, name, body)
        return answer if answer.reply else None  # without a reply subject it is the status "no messages"

    async def _request(self, api: str, body: bytes) -> Msg:
        js = self._jetstream()
        return await js._nc.request(f"{js._prefix}.{api}", body, timeout=ASK.total_seconds())  # noqa: SLF001  as above

    async def _hear(self, message: Msg) -> None:
        self.again(message.subject, timedelta())

    async def _look(self) -> None:
        """Find, now and then, messages that were not announced or that another instance left."""
        while True:
            began, pause = self._now(), LOOK
            try:
                async for accounts in self._waiting():
                    for account in accounts:
                        self._rota.expect(account, self._now(), once=True)
                    self._heard.set()
                pause = min(max(LOOK, timedelta(seconds=LOOK_SHARE * (self._now() - began))), LONGEST_LOOK_PAUSE)
            except FAULTS as error:  # messages lost or answered too late by a stalled broker are found only here
                log.info("turns.look_later", queue=self._spec.durable, error=type(error).__name__)
            await asyncio.sleep(pause.total_seconds())

    async def _waiting(self) -> AsyncIterator[set[str]]:
        """Yield the accounts that have messages in the queue, some subjects at a time."""
        offset = 0
        for _ in range(LOOK_PAGES):
            body = {"subjects_filter": f"{self._spec.channel}.*.*", "offset": offset}
            answer = await self._request(f"STREAM.INFO.{self._spec.stream}", json.dumps(body).encode())
            info = json.loads(answer.data)
            if "error" in info:
                raise APIError.from_error(info["error"])
            subjects = info["state"].get("subjects") or {}
            yield {account for subject in subjects if (account := self._account(subject))}
            offset += len(subjects)
            if not subjects or offset >= info.get("total", 0):
                return

    def _account(self, subject: str) -> str:
        return subject.removeprefix(f"{self._spec.channel}.").partition(".")[0]

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
