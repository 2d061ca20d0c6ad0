"""The limits of an account: requests per time, and things of a kind at once, so that no account takes everything."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from nats.js import JetStreamContext

from services.gateway.domain.errors import TooMany, invalid
from shared.broker.following import Following
from shared.broker.kv import Change
from shared.messages.base import Record
from shared.runtime.clock import Clock
from shared.security.peers import Budget, network_of

Kind = Literal["live jobs", "clips in work", "restreams", "webhooks"]
BURST: Final = timedelta(seconds=10)
"""The requests of so long a time may come at once."""
UNKNOWN_KEYS: Final = 30
UNKNOWN_AGAIN: Final = timedelta(milliseconds=200)
NUMBER_AGAIN: Final = timedelta(seconds=30)
"""When to retry after a full quota."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of each account: requests per second, things of a kind at once, clips per request. 0: no limit."""

    rate: int
    outputs: int
    most: Mapping[Kind, int]


class _State(Record):
    state: str


class Tally(Following[_State]):
    """Which of a bucket's records have not ended, by account (`<account>.<id>`).

    Until the whole bucket was read for the first time, what was read so far counts.
    """

    def __init__(self, jetstream: Callable[[], JetStreamContext], bucket: str, ended: Collection[str]) -> None:
        super().__init__(jetstream, bucket, _State)
        self._ended = frozenset(ended)
        self._going: defaultdict[str, set[str]] = defaultdict(set)
        self._known: set[str] = set()

    async def of(self, account: str) -> frozenset[str]:
        """Return the ids of an account's records that have not ended. Unavailable when the broker is."""
        if not self.is_first_reading:
            await self.refresh()
        return frozenset(self._going.get(account, ()))

    def knows(self, account: str, ident: str) -> bool:
        """Return whether there is such a record, even one that has ended."""
        return f"{account}.{ident}" in self._known

    def _forget(self) -> None:
        self._going.clear()
        self._known.clear()

    def _take(self, change: Change[_State]) -> None:
        account, _, ident = change.key.partition(".")
        (self._known.discard if change.value is None else self._known.add)(change.key)
        if change.value is not None and change.value.state not in self._ended:
            self._going[account].add(ident)
        elif account in self._going:
            self._going[account].discard(ident)
            if not self._going[account]:
                del self._going[account]


class Quotas:
    """Counts requests and things; TooMany says when to retry. A limit of 0 means no limit."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        rate = limits.rate
        again = timedelta(seconds=1) / max(rate, 1)
        self._requests = Budget(rate * BURST // timedelta(seconds=1), again, clock) if rate else None
        self._strangers = Budget(UNKNOWN_KEYS, UNKNOWN_AGAIN, clock)
        self._most = limits.most
        self._outputs = limits.outputs
        self._coming: Counter[tuple[str, Kind]] = Counter()

    def request(self, account: str) -> None:
        """Count a request of an account; TooMany."""
        if self._requests is not None and not self._requests.take(account):
            raise TooMany("RATE_LIMITED", "too many requests", self._requests.wait(account))

    def stranger(self, address: str) -> None:
        """Count a lookup of a key that is not in memory; TooMany."""
        network = network_of(address)
        if not self._strangers.take(network):
            raise TooMany("RATE_LIMITED", "too many unknown keys from this network", self._strangers.wait(network))

    def may_log(self, address: str) -> bool:
        """Return whether one more refusal of a network may be logged, so that endless tries do not fill the log."""
        return self._strangers.take(network_of(address))

    def outputs(self, count: int) -> None:
        """Check the number of outputs in one request; Invalid."""
        if self._outputs and count > self._outputs:
            raise invalid("outputs", f"must have at most {self._outputs} entries")

    @contextlib.asynccontextmanager
    async def room(
        self,
        account: str,
        kind: Kind,
        there: Callable[[], Awaitable[Collection[str]]],
        more: Collection[str],
        known: Callable[[str], bool] = lambda _: False,
    ) -> AsyncIterator[None]:
        """Reserve room for `more` beside what is `there` while the block runs; existing or `known` ids need none.

        Room that others have reserved counts too, so that concurrent requests cannot pass a limit together. TooMany.
        """
        most, counter = self._most[kind], (account, kind)
        if not most or not more:
            yield
            return
        self._coming[counter] += len(more)
        try:
            going = await there()
            new = sum(ident not in going and not known(ident) for ident in more)
            others = self._coming[counter] - len(more)
            if new and len(going) + others + new > most:
                message = f"the account has at most {most} {kind}"
                raise TooMany("QUOTA_EXCEEDED", message, NUMBER_AGAIN)
            yield
        finally:
            self._coming[counter] -= len(more)
            if not self._coming[counter]:
                del self._coming[counter]
