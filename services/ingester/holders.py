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

from shared.errors import Unavailable
from shared.subjects import holder_subject

ANSWER_S: Final = 1.0
AGAIN_S: Final = 0.1
HOLDS, FREE = b"holds", b"free"


class Holders:
    """Asks other instances, and answers for this one."""

    def __init__(self, connection: Callable[[], Client]) -> None:
        self._connection = connection
        self._reconnects = 0

    async def holds(self, token: str, key: str) -> bool:
        """Ask a holder whether it has a lease; False when it says no, or nothing for a second.

        Nobody to hear the question may mean that the holder is just coming back to the broker as this one is: then
        it is taken to have it. Unavailable without the broker.
        """
        loop, connection = asyncio.get_running_loop(), self._connection()
        until = loop.time() + ANSWER_S
        while (left := until - loop.time()) > 0:
            try:
                answer = await connection.request(holder_subject(token), key.encode(), timeout=left)
            except NoRespondersError:
                await asyncio.sleep(min(AGAIN_S, left))
            except TimeoutError:
                break
            except (NatsError, OSError) as error:
                raise Unavailable(f"a holder could not be asked: {type(error).__name__}") from error
            else:
                return bytes(answer.data) != FREE
        if not connection.is_connected:
            raise Unavailable("a holder could not be asked: no connection")
        return not self._is_settled()

    def note(self) -> None:
        """Remember that the connection has been there for a while; now and then."""
        self._reconnects = self._connection().stats["reconnects"]

    def _is_settled(self) -> bool:
        """Tell whether the connection is not a new one: after an outage, others come back when they do."""
        return self._connection().stats["reconnects"] == self._reconnects

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
