"""Deletes contexts that nothing names any more: their resource was deleted, has another, or was never created."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import timedelta
from typing import Final

from nats.js import JetStreamContext

from shared.broker import buckets
from shared.broker.kv import Bucket, Conflict
from shared.errors import Unavailable
from shared.messages.subscriptions import SubscriptionContext
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside

log = get_logger()
KEPT: Final = timedelta(days=9)
"""How long an unnamed context is kept: events that name it may stay in EVENTS for eight days."""
PERIOD: Final = timedelta(hours=1)
_MS: Final = timedelta(milliseconds=1)
Named = Callable[[str, Collection[str]], Awaitable[Collection[str]]]
"""Returns, for an account and ids of its resources, the contexts that they or commands about them name."""


class Sweep:
    """Sweeps every hour. Any number of gateways may do so at once: each step is compare-and-set."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], named: Named, clock: Clock) -> None:
        self._bucket = Bucket(jetstream, buckets.CONTEXTS, SubscriptionContext)
        self._named = named
        self._clock = clock

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep while the block runs."""
        async with beside(self._again_and_again()):
            yield

    async def _again_and_again(self) -> None:
        pause = PERIOD * random.random() / 10  # spreads gateways that start at the same time
        while True:
            await asyncio.sleep(pause.total_seconds())
            pause = PERIOD
            try:
                await self.sweep()
            except Unavailable as error:
                log.info("contexts.sweep.later", error=str(error))

    async def sweep(self) -> None:
        """Mark the contexts that nothing names, and delete those marked longer than `KEPT` ago. Raise Unavailable.

        The order is: list the keys, ask which of them are named, then read each. So a context that a call stores
        meanwhile is either not in the list or has no mark any more.
        """
        accounts: defaultdict[str, set[str]] = defaultdict(set)
        for key in await self._bucket.keys():
            account, _, context = key.partition(".")
            accounts[account].add(context)
        for account, found in accounts.items():
            named = await self._named(account, {context.partition(".")[0] for context in found})
            for context in found:
                with contextlib.suppress(Conflict):  # another gateway changed it, or a call stored it again
                    await self._look(f"{account}.{context}", named=context in named)

    async def _look(self, key: str, *, named: bool) -> None:
        stored = await self._bucket.get(key)
        if stored is None:
            return
        now_ms, since_ms = self._clock.now_ms(), stored.value.unnamed_ms
        if named and since_ms is not None:
            await self._bucket.replace(stored, stored.value.model_copy(update={"unnamed_ms": None}))
        elif not named and since_ms is None:
            await self._bucket.replace(stored, stored.value.model_copy(update={"unnamed_ms": now_ms}))
        elif not named and since_ms is not None and since_ms < now_ms - KEPT // _MS:
            await self._bucket.delete(key, stored.revision)
            log.info("contexts.removed", account=stored.value.account, context=stored.value.context)
