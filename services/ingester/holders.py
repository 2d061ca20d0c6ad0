"""Asking whoever holds a lease whether it lives: a question over the broker, answered at once, or not at all (ADR 17).

A lease lasts 15 s beyond its holder. Its encoder does not wait for so long, and nobody on another machine can look at
the process; but one that is killed, frozen or cut off does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from shared.broker.subjects import holder_subject
from shared.errors import Unavailable

QUESTIONS: Final = 2
SLICES: Final = 10
SLICE_S: Final = 0.1
SILENCE_S: Final = QUESTIONS * SLICES * SLICE_S
"""Longer than a process under load was seen to stand still (1.5 s), and shorter than an encoder has patience."""
LIMIT_S: Final = 3 * SILENCE_S
LATE_S: Final = 0.2
"""A slice that ends later than by so much does not count."""
REQUEST_S: Final = 60.0
SETTLED_S: Final = 5.0
"""So long after its own return to the broker, nobody is taken to be away: others come back when they do."""
HOLDS, FREE = b"holds", b"free"
UNHEARD: Final = b"unheard"
"""In place of an answer: nobody was there to hear the question, for all of its second. Who stands still is there."""


class Holders:
    """Asks other instances, and answers for this one."""

    def __init__(self, connection: Callable[[], Client]) -> None:
        self._connection = connection
        self._reconnects = 0
        self._since = 0.0  # when this number was seen first

    async def holds(self, token: str, key: str) -> bool | None:
        """Ask a holder whether it has a lease; False when it says no, or nothing to two questions, a second each.

        One question is enough where nobody is there to hear it: a process that was killed has left the broker.

        None when it cannot be told: this process is hardly awake, or has just come back to the broker, to which the
        holder may be just coming back, too. Unavailable without the broker.
        """
        connection = self._connection()
        try:
            async with asyncio.timeout(LIMIT_S):
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
        """Ask, and again while nobody hears it; None, or UNHEARD, after a second in which this process was awake.

        The second is counted in slices. One that ends late does not count: this process stood still, and an answer
        may have come meanwhile that it has not read.
        """
        loop = asyncio.get_running_loop()
        silent, unheard, question = 0, True, _put(connection, token, key)
        try:
            while silent < SLICES:
                began = loop.time()
                await asyncio.wait({question}, timeout=SLICE_S)
                if question.done() and (answer := _answer(question)) is not None:
                    return answer
                unheard = unheard and question.done()
                if question.done():  # nobody has heard it
                    await asyncio.sleep(SLICE_S - min(loop.time() - began, SLICE_S))
                    question = _put(connection, token, key)
                if loop.time() - began < SLICE_S + LATE_S:
                    silent += 1
        finally:
            question.cancel()
        return UNHEARD if unheard else None

    def note(self) -> None:
        """See whether the connection is a new one; now and then."""
        reconnects = self._connection().stats["reconnects"]
        if reconnects != self._reconnects:
            self._reconnects, self._since = reconnects, asyncio.get_running_loop().time()

    def _is_settled(self) -> bool:
        """Tell whether the connection has been there for a while: after an outage, others come back when they do."""
        self.note()
        now = asyncio.get_running_loop().time()
        return not self._reconnects or now - self._since >= SETTLED_S

    @contextlib.asynccontextmanager
    async def answering(self, token: str, has: Callable[[str], bool]) -> AsyncIterator[None]:
        """Answer for this instance while the block runs."""

        async def answer(question: Msg) -> None:
            with contextlib.suppress(NatsError, OSError):  # who asked is gone, or asks again
                await question.respond(HOLDS if has(question.data.decode("utf-8", "replace")) else FREE)

        self.note()
        subscription = await self._connection().subscribe(holder_subject(token), cb=answer)
        try:
            yield
        finally:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()


def _put(connection: Client, token: str, key: str) -> asyncio.Task[Msg]:
    return asyncio.create_task(connection.request(holder_subject(token), key.encode(), timeout=REQUEST_S))


def _answer(question: asyncio.Task[Msg]) -> bytes | None:
    """Return what was answered; None when nobody heard the question. Unavailable when it could not be put."""
    try:
        return bytes(question.result().data)
    except (NoRespondersError, TimeoutError):
        return None
    except (NatsError, OSError) as error:
        raise Unavailable(f"a holder could not be asked: {type(error).__name__}") from error
