"""Lists of a bucket's records: their order is kept in memory, and a page reads the records that it shows, no others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from nats.js import JetStreamContext

from services.gateway.http.paging import Page, Paging
from services.gateway.orders import Entry, Orders, Wanted
from shared.errors import Unavailable
from shared.kv import Bucket
from shared.logging import get_logger
from shared.messages.base import Record
from shared.tasks import beside

log = get_logger()
F = TypeVar("F", bound=Record)
R = TypeVar("R", bound=Record)
PATTERN: Final = "*.*"  # <account>.<id>
REFRESH_S: Final = 2.0
PATIENCE_S: Final = 10.0
AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Facts(Generic[F]):
    """What a list needs of a record: the model of no more than that, and the entry made of it."""

    model: type[F]
    entry: Callable[[F], Entry]


class Catalogue(Generic[R, F]):
    """The order of a bucket's records under `<account>.<id>`.

    It is brought up to date by whoever asks, from the revision it has come to, and now and then by itself, so that
    there is never much to read. What was removed without a mark (by age) is forgotten when a page would show it.
    """

    def __init__(self, jetstream: Callable[[], JetStreamContext], bucket: str, model: type[R], facts: Facts[F]) -> None:
        self._name = bucket
        self._facts_of = Bucket(jetstream, bucket, facts.model)
        self._records = Bucket(jetstream, bucket, model)
        self._make = facts.entry
        self._accounts: defaultdict[str, Orders] = defaultdict(Orders)
        self._seen = 0
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep it nearly up to date while the block runs."""
        async with beside(self._keep()):
            yield

    async def _keep(self) -> None:
        while True:
            try:
                await self._refresh()
            except Unavailable as error:
                log.info("catalogue.later", bucket=self._name, error=str(error))
            await asyncio.sleep(REFRESH_S)

    async def accounts(self) -> list[str]:
        """Name the accounts that have any."""
        await self._refresh()
        return sorted(self._accounts)

    async def idents(self, account: str, wanted: Wanted) -> list[str]:
        """Give the ids of all that is wanted, the oldest first."""
        orders = await self.current(account)
        found: list[str] = []
        for some in orders.slices(wanted, None, descending=False, by_change=False):
            found += [entry.ident for entry in some]
            await asyncio.sleep(0)
        return found

    async def current(self, account: str) -> Orders:
        """Give an account's order as it is now; Unavailable while all of it is read for the first time."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._refresh()
        except TimeoutError as error:
            raise Unavailable(f"bucket {self._name} is being read") from error
        return self._accounts.get(account) or Orders()

    async def find(self, account: str, wanted: Wanted, paging: Paging, most: int) -> list[Entry]:
        """Give up to `most` entries from where a page begins."""
        orders = await self.current(account)
        found: list[Entry] = []
        by_change = paging.sort == "modified_at"
        for some in orders.slices(wanted, paging.after, descending=paging.descending, by_change=by_change):
            found += some
            if len(found) >= most:
                break
            await asyncio.sleep(0)
        return found[:most]

    async def page(self, account: str, wanted: Wanted, paging: Paging) -> Page[R]:
        """Give a page of an account's records."""
        found = await self.find(account, wanted, paging, paging.page_size + 1)
        shown = found[: paging.page_size]
        records = await self.read(account, [entry.ident for entry in shown])
        more = len(found) > len(shown)
        by_change = paging.sort == "modified_at"
        last = (shown[-1].by_change if by_change else shown[-1].by_creation) if shown else None
        return Page([records[e.ident] for e in shown if e.ident in records], paging.token(last if more else None))

    async def read(self, account: str, idents: list[str]) -> dict[str, R]:
        """Read some records; one that is gone is forgotten."""
        found: dict[str, R] = {}
        for start in range(0, len(idents), AT_ONCE):
            some = idents[start : start + AT_ONCE]
            stored = await asyncio.gather(*(self._records.get(f"{account}.{ident}") for ident in some))
            for ident, record in zip(some, stored, strict=True):
                if record is not None:
                    found[ident] = record.value
                elif account in self._accounts:
                    self._accounts[account].drop(ident)
        return found

    async def _refresh(self) -> None:
        async with self._lock:
            last = await self._facts_of.last_revision()
            if last < self._seen:  # another broker, or an older state of this one
                self._accounts.clear()
                self._seen = 0
            if last == self._seen:
                return
            await self._take(filling=not self._seen)
            self._seen = max(self._seen, last)

    async def _take(self, *, filling: bool) -> None:
        """Read what has changed; at first everything, into an order of its own, which counts once it is whole."""
        accounts = defaultdict(Orders) if filling else self._accounts
        seen = self._seen
        async for changes in self._facts_of.changes(PATTERN, seen):
            for change in changes:
                account, _, ident = change.key.partition(".")
                if filling and account not in accounts:
                    accounts[account].fill()
                if change.value is None:
                    accounts[account].drop(ident)
                else:
                    accounts[account].put(self._make(change.value))
                seen = max(seen, change.revision)
        if filling:
            for orders in accounts.values():
                for _ in orders.sort_some():
                    await asyncio.sleep(0)
            self._accounts = accounts
            gc.freeze()  # there are many, and they stay: the collector need not look at them again and again
        self._seen = seen
