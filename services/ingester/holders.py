"""Asks a lease's holder over the broker whether it is alive; a live one answers at once (ADR 17).

A lease outlives its holder by 15 s. An encoder does not wait that long, and another machine cannot inspect the
process; but a holder that is killed, frozen or disconnected does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from shared.broker.subjects import holder_subject
from shared.errors import Unavailable

QUESTIONS: Final = 2
SLICES: Final = 10
SLICE: Final = timedelta(milliseconds=100)
SILENCE: Final = QUESTIONS * SLICES * SLICE
"""Longer than the longest observed stall of a loaded process (1.5 s), and shorter than an encoder's timeout."""
LIMIT: Final = 3 * SILENCE
LATE: Final = timedelta(milliseconds=200)
"""A slice that ends later than this does not count."""
REQUEST: Final = timedelta(minutes=1)
SETTLED: Final = timedelta(seconds=5)
"""How long after its own reconnect this instance presumes no holder gone: others may still be reconnecting."""
HOLDS, FREE = b"holds", b"free"
UNHEARD: Final = b"unheard"
"""In place of an answer: the question had no subscriber for its whole second. A stalled process has one."""


class Holders:
    """Asks other instances about their leases, and answers for this one."""

    def __init__(self, connection: Callable[[], Client]) -> None:
        self._connection = connection
        self._reconnects = 0
        self._since = 0.0  # when `_reconnects` was first seen

    async def holds(self, token: str, key: str) -> bool | None:
        """Return whether a holder has a lease; False when it says no, or does not answer two questions, a second each.

        One question is enough when it has no subscriber: a process that was killed has left the broker.

        None when it is unknown: this process is stalling, or has just reconnected to the broker, as the holder may
        be doing too. Unavailable without the broker.
        """
        connection = self._connection()
        try:
            async with asyncio.timeout(LIMIT.total_seconds()):
                for _ in range(QUESTIONS):
                    answer = await self._ask(connection, token, key)
                    if answer == UNHEARD:
                        break
                    if answer is not None:
                        return answer != FREE
        except TimeoutError:
            return None
        if not connection.is_connected:
            raise Unavailable("a holder could not be asked: no connection")
        return False if self._is_settled() else None

    async def _ask(self, connection: Client, token: str, key: str) -> bytes | None:
        """Ask, repeatedly while there is no subscriber; return None or UNHEARD after a second without a stall.

        The second is counted in slices. A slice that ends late does not count: this process stalled, and may not
        have read an answer yet.
        """
        loop, slice_s = asyncio.get_running_loop(), SLICE.total_seconds()
        silent, unheard, question = 0, True, _put(connection, token, key)
        try:
            while silent < SLICES:
                began = loop.time()
                await asyncio.wait({question}, timeout=slice_s)
                if question.done() and (answer := _answer(question)) is not None:
                    return answer
                unheard = unheard and question.done()
                if question.done():  # it had no subscriber
                    await asyncio.sleep(slice_s - min(loop.time() - began, slice_s))
                    question = _put(connection, token, key)
                if loop.time() - began < slice_s + LATE.total_seconds():
                    silent += 1
        finally:
            question.cancel()
        return UNHEARD if unheard else None

    def note(self) -> None:
        """Check whether the connection is a new one; called now and then."""
        reconnects = self._connection().stats["reconnects"]
        if reconnects != self._reconnects:
            self._reconnects, self._since = reconnects, asyncio.get_running_loop().time()

    def _is_settled(self) -> bool:
        """Return whether the connection is not new: after an outage, others may still be reconnecting."""
        self.note()
        now = asyncio.get_running_loop().time()
        return not self._reconnects or now - self._since >= SETTLED.total_seconds()

    @contextlib.asynccontextmanager
    async def answering(self, token: str, has: Callable[[str], bool]) -> AsyncIterator[None]:
        """Answer for this instance while the block runs."""

        async def answer(question: Msg) -> None:
            with contextlib.suppress(NatsError, OSError):  # the asker is gone, or asks again
                await question.respond(HOLDS if has(question.data.decode("utf-8", "replace")) else FREE)

        self.note()
        subscription = await self._connection().subscribe(holder_subject(token), cb=answer)
        try:
            yield
        finally:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()


def _put(connection: Client, token: str, key: str) -> asyncio.Task[Msg]:
    return asyncio.create_task(connection.request(holder_subject(token), key.encode(), timeout=REQUEST.total_seconds()))


def _answer(question: asyncio.Task[Msg]) -> bytes | None:
    """Return the answer; None when the question had no subscriber. Unavailable when it could not be sent."""
    try:
        return bytes(question.result().data)
    except (NoRespondersError, TimeoutError):
        return None
    except (NatsError, OSError) as error:
        raise Unavailable(f"a holder could not be asked: {type(error).__name__}") from error
