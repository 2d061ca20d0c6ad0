"""Names that other vendors' clients give to live jobs: which job a name means now, and which it meant before."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from nats.js import JetStreamContext
from pydantic import Field

from shared.broker import buckets
from shared.broker.following import Following
from shared.broker.kv import Bucket, Change, Conflict, Stored
from shared.messages.base import AccountId, HexId, Millis, Record

MOST_PAST: Final = 16
SETTINGS_PURPOSE: Final = "stream-settings"


class Alias(Record):
    """A name: bucket `aliases`, under `<vendor>.<account>.<sha256 of the name>`; the gateway's."""

    account: AccountId
    name: str = Field(max_length=256)
    event: HexId = Field(description="The job that it means")
    past: tuple[HexId, ...] = Field((), max_length=MOST_PAST, description="The jobs that it meant before, latest first")
    made: bool = Field(False, description="The job of `event` was made; until then, only this record knows of it")
    settings: str = Field("", description="What the client has set, encrypted")
    asks: bool = Field(False, description="A backend is asked about who plays it")
    created_ms: Millis
    changed_ms: Millis

    @property
    def events(self) -> tuple[str, ...]:
        """All its jobs, the present one first."""
        return (self.event, *self.past)


class AliasIndex(Following[Alias]):
    """All aliases, or those of one vendor, by key in the bucket, and by vendor and account."""

    pattern = "*.*.*"

    def __init__(self, jetstream: Callable[[], JetStreamContext], vendor: str = "") -> None:
        super().__init__(jetstream, buckets.ALIASES, Alias)
        self._vendor = vendor
        self.known: dict[str, Alias] = {}
        self._groups: defaultdict[str, dict[str, Alias]] = defaultdict(dict)
        self._named: defaultdict[str, dict[str, Alias]] = defaultdict(dict)

    def of(self, vendor: str, account: str) -> list[Alias]:
        """Return an account's aliases."""
        return list(self._groups.get(f"{vendor}.{account}", {}).values())

    def called(self, vendor: str, name: str) -> list[Alias]:
        """Return the aliases of a name in all accounts, the oldest first."""
        return sorted(self._named.get(f"{vendor}.{name}", {}).values(), key=lambda one: (one.created_ms, one.account))

    def _forget(self) -> None:
        self.known.clear()
        self._groups.clear()
        self._named.clear()

    def _take(self, change: Change[Alias]) -> None:
        group = change.key.rpartition(".")[0]
        vendor = change.key.partition(".")[0]
        if self._vendor not in {"", vendor}:
            return
        if change.value is not None:
            self._named[f"{vendor}.{change.value.name}"][change.key] = change.value
            self.known[change.key] = self._groups[group][change.key] = change.value
            return
        before = self.known.pop(change.key, None)
        if before is not None:
            named = self._named[f"{vendor}.{before.name}"]
            named.pop(change.key, None)
            if not named:
                del self._named[f"{vendor}.{before.name}"]
        self._groups[group].pop(change.key, None)
        if not self._groups[group]:
            del self._groups[group]


class Aliases:
    """A vendor's aliases. Writes compare and set, so that a name never means two jobs at once."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], vendor: str) -> None:
        self._bucket = Bucket(jetstream, buckets.ALIASES, Alias)
        self._vendor = vendor
        self.index = AliasIndex(jetstream, vendor)

    def _key(self, account: str, name: str) -> str:
        return f"{self._vendor}.{account}.{hashlib.sha256(name.encode()).hexdigest()}"

    async def get(self, account: str, name: str) -> Stored[Alias] | None:
        """Read a name."""
        return await self._bucket.get(self._key(account, name))

    async def find(self, account: str, name: str, unknown: Callable[[], None] = lambda: None) -> Alias | None:
        """Return a name as it was at most a few seconds ago: from memory, if it is there.

        `unknown` is called before the broker is asked; it may raise to prevent that.
        """
        known = self.index.known.get(self._key(account, name))
        if known is not None:
            return known
        unknown()
        stored = await self.get(account, name)
        return stored.value if stored else None

    def called(self, name: str) -> list[Alias]:
        """Return the aliases of a name in all accounts, the oldest first, from memory."""
        return self.index.called(self._vendor, name)

    async def all_of(self, account: str) -> list[Alias]:
        """Return an account's names."""
        await self.index.refresh()
        return self.index.of(self._vendor, account)

    async def write(self, stored: Stored[Alias] | None, alias: Alias) -> Stored[Alias]:
        """Replace the alias that was read, or create it; Conflict when another writer was first."""
        if stored is not None:
            return await self._bucket.replace(stored, alias)
        key = self._key(alias.account, alias.name)
        return Stored(key, alias, await self._bucket.create(key, alias))

    async def change(self, account: str, name: str, how: Callable[[Alias | None], Alias]) -> Alias:
        """Change a name with compare-and-set; `how` may run again, and may raise."""
        made = await self._bucket.change(self._key(account, name), how)
        assert made is not None  # noqa: S101  `how` returns one
        return made

    async def confirm(self, alias: Alias) -> None:
        """Record that the job of a name was made, unless the name means another by now."""

        def made(now: Alias | None) -> Alias | None:
            pending = now is not None and now.event == alias.event and not now.made
            return now.model_copy(update={"made": True}) if now and pending else None

        await self._bucket.change(self._key(alias.account, alias.name), made)

    async def remove(self, stored: Stored[Alias]) -> None:
        """Remove the alias that was read; Conflict when it has changed since."""
        await self._bucket.delete(stored.key, stored.revision)


__all__ = ["SETTINGS_PURPOSE", "Alias", "Aliases", "Conflict"]
