"""Which media servers serve which entries; a registration that is not repeated is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nats.js import JetStreamContext

from services.gateway.facades.kaltura.entries import Entry
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.records import INDEXES, PLAYABLE, Registration
from shared.broker import buckets
from shared.broker.kv import Bucket, Conflict
from shared.runtime.clock import Clock

MOST_INPUTS: Final = 10
"""Entries of a partner that are registered at the same time (the vendor's usual limit)."""


class Registrations:
    """Reads and writes registrations; they hold for a time by the given clock."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self._bucket = Bucket(jetstream, buckets.MEDIA_SERVERS, Registration)
        self._clock = clock

    async def of(self, account: str, entry: str) -> dict[str, Registration]:
        """Return the registrations of an entry that hold, by index."""
        stored = [await self._bucket.get(_key(account, entry, index)) for index in INDEXES]
        now = self._clock.now_ms()
        return {one.value.index: one.value for one in stored if one is not None and one.value.holds(now)}

    async def all_of(self, account: str) -> list[Registration]:
        """Return the registrations of an account's entries that hold, oldest first."""
        now = self._clock.now_ms()
        found = [one.value for one in await self._bucket.items(f"entry.{account}") if one.value.holds(now)]
        return sorted(found, key=lambda one: (one.since_ms, one.entry, one.index))

    async def hosted(self, host: str, owner: int) -> list[Registration]:
        """Return the registrations of all accounts that hold, of a host that a partner has reported."""
        now, found = self._clock.now_ms(), await self._bucket.items("entry")
        mine = [one.value for one in found if one.value.owner == owner and one.value.host.lower() == host.lower()]
        return sorted((one for one in mine if one.holds(now)), key=lambda one: (one.since_ms, one.entry, one.index))

    async def put(self, entry: Entry, asked: Registration) -> Registration:
        """Register a server, or repeat that; LIVE_STREAM_EXCEEDED_MAX_PASSTHRU."""
        others = {one.entry for one in await self.all_of(entry.account)} - {entry.id}
        if len(others) >= MOST_INPUTS:
            raise KalturaError("LIVE_STREAM_EXCEEDED_MAX_PASSTHRU")
        now = self._clock.now_ms()

        def written(there: Registration | None) -> Registration:
            goes_on = there is not None and there.holds(now) and there.host == asked.host
            since = there.since_ms if there is not None and goes_on else now
            return asked.model_copy(update={"since_ms": since, "at_ms": now})

        await self._bucket.change(_key(entry.account, entry.id, asked.index), written)
        return asked

    async def update(self, registration: Registration, status: int) -> Registration:
        """Set the status of a registration that is there; ENTRY_SERVER_NODE_NOT_FOUND."""
        key = _key(registration.account, registration.entry, registration.index)
        found = await self._bucket.change(key, lambda one: one.model_copy(update={"status": status}) if one else None)
        if found is None:
            raise KalturaError("ENTRY_SERVER_NODE_NOT_FOUND", ID=str(registration.id))
        return found

    async def remove(self, account: str, entry: str, index: str, host: str) -> bool:
        """Remove a host's registration; return whether it was there."""
        stored = await self._bucket.get(_key(account, entry, index))
        if stored is None or stored.value.host != host:
            return False
        try:
            await self._bucket.delete(stored.key, stored.revision)
        except Conflict:  # another server has registered meanwhile
            return False
        return True

    async def forget(self, account: str, entry: str, *, stale_only: bool) -> None:
        """Remove an entry's registrations, or those that are over."""
        now = self._clock.now_ms()
        for index in INDEXES:
            stored = await self._bucket.get(_key(account, entry, index))
            if stored is not None and not (stale_only and stored.value.holds(now)):
                await self._bucket.delete(stored.key, stored.revision)


def is_playable(found: dict[str, Registration]) -> bool:
    """Return whether one of an entry's registrations is playable."""
    return any(one.status == PLAYABLE for one in found.values())


def _key(account: str, entry: str, index: str) -> str:
    return f"entry.{account}.{entry}.{index}"
