"""Lists of a bucket's records: their order is kept in memory, and a page reads only the records that it shows."""

from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from nats.js import JetStreamContext

from services.gateway.domain.lists.orders import ListRow, Orders, Wanted
from services.gateway.domain.lists.pages import Page, Paging
from shared.broker.following import Following
from shared.broker.kv import Bucket, Change
from shared.errors import Unavailable
from shared.messages.base import Record

F = TypeVar("F", bound=Record)
R = TypeVar("R", bound=Record)
PATIENCE_S: Final = 10.0
AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Facts(Generic[F]):
    """What a list needs of a record: a model of just these fields, and the function that makes its entry."""

    model: type[F]
    entry: Callable[[F], ListRow]


class Catalogue(Following[F], Generic[R, F]):
    """The order of a bucket's records under `<account>.<id>`, and pages of the records.

    A record that was removed without a delete marker (by age) is dropped when a page would show it.
    """

    def __init__(self, jetstream: Callable[[], JetStreamContext], bucket: str, model: type[R], facts: Facts[F]) -> None:
        super().__init__(jetstream, bucket, facts.model)
        self._records = Bucket(jetstream, bucket, model)
        self._make = facts.entry
        self._accounts: defaultdict[str, Orders] = defaultdict(Orders)
        self._filling: defaultdict[str, Orders] | None = None

    async def accounts(self) -> list[str]:
        """Return the accounts that have records."""
        await self.refresh()
        return sorted(self._accounts)

    async def idents(self, account: str, wanted: Wanted) -> list[str]:
        """Return the ids of all matching records, the oldest first."""
        orders = await self.current(account)
        found: list[str] = []
        for some in orders.slices(wanted, None, descending=False, by_change=False):
            found += [entry.ident for entry in some]
            await asyncio.sleep(0)
        return found

    async def current(self, account: str) -> Orders:
        """Return an account's current order; Unavailable while the bucket is read for the first time."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.refresh()
        except TimeoutError as error:
            raise Unavailable(f"bucket {self._name} is being read") from error
        return self._accounts.get(account) or Orders()

    async def find(self, account: str, wanted: Wanted, paging: Paging, most: int) -> list[ListRow]:
        """Return up to `most` entries from the start of a page."""
        orders = await self.current(account)
        found: list[ListRow] = []
        by_change = paging.sort == "modified_at"
        for some in orders.slices(wanted, paging.after, descending=paging.descending, by_change=by_change):
            found += some
            if len(found) >= most:
                break
            await asyncio.sleep(0)
        return found[:most]

    async def page(self, account: str, wanted: Wanted, paging: Paging) -> Page[R]:
        """Return a page of an account's records."""
        found = await self.find(account, wanted, paging, paging.page_size + 1)
        shown = found[: paging.page_size]
        records = await self.read(account, [entry.ident for entry in shown])
        more = len(found) > len(shown)
        by_change = paging.sort == "modified_at"
        last = (shown[-1].by_change if by_change else shown[-1].by_creation) if shown else None
        return Page([records[e.ident] for e in shown if e.ident in records], paging.token(last if more else None))

    async def read(self, account: str, idents: list[str]) -> dict[str, R]:
        """Return some records by id; one that is gone is dropped from the order."""
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

    def _forget(self) -> None:
        self._accounts.clear()

    def _begin(self) -> None:
        self._filling = defaultdict(Orders)  # separate orders, used once they are complete

    def _take(self, change: Change[F]) -> None:
        accounts = self._accounts if self._filling is None else self._filling
        account, _, ident = change.key.partition(".")
        if self._filling is not None and account not in accounts:
            accounts[account].fill()
        if change.value is None:
            accounts[account].drop(ident)
        else:
            accounts[account].put(self._make(change.value))

    async def _end(self) -> None:
        filled = self._filling or defaultdict(Orders)
        for orders in filled.values():
            for _ in orders.sort_some():
                await asyncio.sleep(0)
        self._accounts, self._filling = filled, None
        gc.freeze()  # they are many and stay: keep the collector from scanning them again and again
