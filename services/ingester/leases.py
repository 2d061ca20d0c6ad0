"""Leases: one session per event in all instances. A lease that is not renewed ends by itself after 15 s."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

from services.ingester.refusals import taken
from shared.errors import Unavailable
from shared.kv import Bucket, Conflict
from shared.logging import get_logger
from shared.messages.base import Record
from shared.tasks import beside

log = get_logger()
RENEW_S: Final = 5.0


class Lease(Record):
    """Who holds an event: bucket `leases` under `<account>.<event>`."""

    session: str
    instance: str
    host: str
    pid: int


class Leases:
    """Takes, renews and releases this instance's leases. While the broker is away, recording goes on without."""

    def __init__(self, bucket: Bucket[Lease], instance: str, host: str) -> None:
        self._bucket = bucket
        self._instance = instance
        self._host = host
        self._held: dict[str, Lease] = {}
        self._lost: Callable[[str], None] = lambda _session: None

    def on_lost(self, lost: Callable[[str], None]) -> None:
        """Call `lost` with a session whose event another instance has taken meanwhile."""
        self._lost = lost

    async def take(self, account: str, event: str, session: str) -> None:
        """Take an event for a session; PublishRefused while a live instance holds it for another."""
        key = f"{account}.{event}"
        lease = Lease(session=session, instance=self._instance, host=self._host, pid=os.getpid())
        with contextlib.suppress(Unavailable):  # the broker is away: an encoder at the door counts for more
            for _ in range(3):
                try:
                    stored = await self._bucket.get(key)
                    if stored is None:
                        await self._bucket.create(key, lease)
                    elif self.is_dead(stored.value) or stored.value.instance == self._instance:
                        await self._bucket.replace(stored, lease)
                    else:
                        raise taken()
                    break
                except Conflict:
                    continue
        self._held[key] = lease

    async def is_elsewhere(self, account: str, event: str) -> bool:
        """Tell whether a live instance other than this one holds an event; Unavailable."""
        stored = await self._bucket.get(f"{account}.{event}")
        return stored is not None and stored.value.instance != self._instance and not self.is_dead(stored.value)

    async def release(self, account: str, event: str, session: str) -> None:
        """Give an event up, when the session still holds it."""
        key = f"{account}.{event}"
        lease = self._held.get(key)
        if lease is None or lease.session != session:
            return
        del self._held[key]
        with contextlib.suppress(Unavailable):  # it ends by itself
            stored = await self._bucket.get(key)
            if stored and stored.value.session == session:
                await self._bucket.delete(key)

    async def forget(self, account: str, event: str, session: str) -> None:
        """Remove the lease of a dead session, if it is the last one's."""
        stored = await self._bucket.get(f"{account}.{event}")
        if stored and stored.value.session == session:
            await self._bucket.delete(stored.key)

    async def holder(self, account: str, event: str, session: str) -> Literal["lives", "dead", "unknown"]:
        """Tell of a session's holder; unknown: there is no lease of it, as after 15 s without the broker."""
        stored = await self._bucket.get(f"{account}.{event}")
        if stored is None or stored.value.session != session:
            return "unknown"
        return "dead" if self.is_dead(stored.value) else "lives"

    def is_dead(self, lease: Lease) -> bool:
        """Tell a holder that was killed on this host: its process is gone, or is this very one."""
        if lease.host != self._host:
            return False
        if lease.pid == os.getpid():
            return all(lease.session != held.session for held in self._held.values())
        try:
            os.kill(lease.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    @contextlib.asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew what is held every 5 s while the block runs."""
        async with beside(self._renew()):
            yield

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            for key, lease in list(self._held.items()):
                try:
                    await self._keep(key, lease)
                except Unavailable as error:
                    log.info("lease.not_renewed", lease=key, error=str(error))

    async def _keep(self, key: str, lease: Lease) -> None:
        """Write the lease again, unless another live instance has the event: it came while this one was cut off."""

        def renewed(stored: Lease | None) -> Lease | None:
            foreign = stored is not None and stored.instance != self._instance and not self.is_dead(stored)
            return None if foreign or self._held.get(key) is not lease else lease

        kept = await self._bucket.change(key, renewed)
        if kept is not None and kept.session != lease.session and self._held.get(key) is lease:
            del self._held[key]
            log.warning("lease.lost", lease=key, session=lease.session)
            self._lost(lease.session)
