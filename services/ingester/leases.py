"""Leases: one session per event across all instances. A lease expires 15 s after its last renewal (ADR 17)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from services.ingester.holders import Holders
from services.ingester.refusals import taken
from shared.broker.kv import Bucket, Conflict, Stored
from shared.errors import Unavailable
from shared.runtime.lease import Holder, is_gone
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside

log = get_logger()
RENEW: Final = timedelta(seconds=5)
BEAT: Final = timedelta(milliseconds=500)
STOOD: Final = timedelta(seconds=1)
AGAIN: Final = timedelta(seconds=1)
"""The pause after a failed renewal: the broker may return soon, and others wait for this instance's renewal."""
TRIES: Final = 3
STEP_ASIDE: Final = timedelta(milliseconds=100)
SILENT: Final = timedelta(seconds=2)
"""How long a holder that did not answer and does not renew is not asked again: each publisher is checked twice."""


class Lease(Holder):
    """The holder of an event for a session: bucket `leases`, key `<account>.<event>`.

    Under the key `<account>.<event>.<session>`: the instance that ends a session whose holder is gone.
    """

    session: str


@dataclass(slots=True)
class _Held:
    """A lease of this instance, and its epoch: the revision of its last write; 0 before the first write."""

    lease: Lease
    epoch: int


class _Silence(NamedTuple):
    """The revision of a lease whose holder did not answer; at this revision it has not renewed since."""

    token: str
    revision: int
    until: float


class Leases:
    """Takes, renews and releases this instance's leases. Without the broker, recording continues without leases."""

    def __init__(self, bucket: Bucket[Lease], instance: str, host: str, holders: Holders | None = None) -> None:
        self._bucket = bucket
        self._holders = holders
        self._silent: dict[str, _Silence] = {}  # by lease
        self.me = Holder.here(instance, host)
        self._held: dict[str, _Held] = {}
        self._taking: Counter[str] = Counter()
        self._lost: Callable[[str], None] = lambda _session: None
        self._back: Callable[[str], None] = lambda _session: None

    def on_lost(self, lost: Callable[[str], None]) -> None:
        """Set the callback for a session whose event another instance has taken."""
        self._lost = lost

    def on_back(self, back: Callable[[str], None]) -> None:
        """Set the callback for a session whose lease expired and was taken again: it may have been declared over."""
        self._back = back

    def epoch(self, account: str, event: str, session: str) -> int | None:
        """Return the epoch of a session's lease, 0 when not written yet (no broker); None when it is not held."""
        held = self._held.get(f"{account}.{event}")
        return held.epoch if held is not None and held.lease.session == session else None

    async def take(self, account: str, event: str, session: str) -> None:
        """Take an event for a session; PublishRefused while a live instance holds it for another."""
        key = f"{account}.{event}"
        held = _Held(self._lease(session), 0)
        self._taking[key] += 1
        try:
            with contextlib.suppress(Unavailable):  # without the broker, admitting the encoder is more important
                held.epoch = await self._take(key, held.lease)
            self._held[key] = held
        finally:
            self._taking -= Counter([key])

    async def _take(self, key: str, lease: Lease) -> int:
        for _ in range(TRIES):
            stored = await self._bucket.get(key)
            if stored is not None and await self._is_held(stored):
                raise taken()
            try:
                return await self._write(key, stored, lease)
            except Conflict:  # another instance was first, or the read was stale: a replica may lag
                await asyncio.sleep(STEP_ASIDE.total_seconds())
        raise taken()

    def _has(self, key: str) -> bool:
        """Return whether this instance has a lease, including one whose write is not acknowledged yet."""
        return key in self._held or bool(self._taking[key])

    async def claim(self, account: str, event: str, session: str) -> int | None:
        """Claim a session to end it, as its holder is gone; return the epoch, None when another has it. Unavailable."""
        key = f"{account}.{event}.{session}"
        stored = await self._bucket.get(key)
        if stored is not None and self._is_foreign(stored.value):
            return None
        try:
            return await self._write(key, stored, self._lease(session))
        except Conflict:
            return None

    async def unclaim(self, account: str, event: str, session: str) -> None:
        """Drop a claim."""
        with contextlib.suppress(Unavailable):  # it ends by itself
            stored = await self._bucket.get(f"{account}.{event}.{session}")
            if stored is not None and stored.value.token == self.me.token:
                await self._bucket.delete(stored.key, stored.revision)

    async def is_elsewhere(self, account: str, event: str) -> bool:
        """Return whether another live instance holds an event; Unavailable."""
        key = f"{account}.{event}"
        stored = await self._bucket.get(key)
        return stored is not None and await self._is_held(stored)

    async def release(self, account: str, event: str, session: str) -> None:
        """Release an event if the session still holds it."""
        key = f"{account}.{event}"
        held = self._held.get(key)
        if held is None or held.lease.session != session:
            return
        del self._held[key]
        with contextlib.suppress(Unavailable):  # it ends by itself
            stored = await self._bucket.get(key)
            if stored and stored.value.session == session and stored.value.token == self.me.token:
                await self._bucket.delete(key, stored.revision)

    async def forget(self, account: str, event: str, session: str) -> None:
        """Delete the event's lease if it belongs to this session and its holder is dead."""
        stored = await self._bucket.get(f"{account}.{event}")
        if stored and stored.value.session == session and self.is_dead(stored.value):
            await self._bucket.delete(stored.key, stored.revision)

    async def holder(self, account: str, event: str, session: str) -> Literal["lives", "dead", "unknown"]:
        """Return the state of a session's holder; unknown: it has no lease, as after 15 s without the broker."""
        stored = await self._bucket.get(f"{account}.{event}")
        if stored is None or stored.value.session != session:
            return "unknown"
        return "dead" if self.is_dead(stored.value) else "lives"

    def is_dead(self, holder: Holder) -> bool:
        """Return whether a holder is surely gone: a process of this machine that has ended."""
        return is_gone(holder, self.me)

    def _is_foreign(self, lease: Lease) -> bool:
        return lease.token != self.me.token and not self.is_dead(lease)

    async def _is_held(self, stored: Stored[Lease]) -> bool:
        """Return whether another instance has a lease, and is or may be alive."""
        return await self._lives(stored) is not False

    async def _lives(self, stored: Stored[Lease]) -> bool | None:
        """Return whether another instance has a lease and is alive: by its process, or by asking it; None when unknown.

        The lease of a holder that does not answer is replaced by compare-and-set: if the holder has renewed it
        meanwhile, it is asked again.
        """
        key, lease = stored.key, stored.value
        if not self._is_foreign(lease):
            return False
        if self._holders is None or not lease.token:
            return True
        now, known = asyncio.get_running_loop().time(), self._silent.get(key)
        if known and (known.token, known.revision) == (lease.token, stored.revision) and now < known.until:
            return False
        if (holds := await self._holders.holds(lease.token, key)) is not False:
            return holds
        log.warning("lease.holder.silent", lease=key, instance=lease.instance, session=lease.session)
        now = asyncio.get_running_loop().time()
        self._silent = {k: v for k, v in self._silent.items() if v.until > now}
        self._silent[key] = _Silence(lease.token, stored.revision, now + SILENT.total_seconds())
        return False

    def _lease(self, session: str) -> Lease:
        return Lease(session=session, **self.me.model_dump())

    async def _write(self, key: str, stored: Stored[Lease] | None, lease: Lease) -> int:
        """Replace the lease that was read, and return the revision; Conflict when it has changed since."""
        if stored is None:
            return await self._bucket.create(key, lease)
        return (await self._bucket.replace(stored, lease)).revision

    @contextlib.asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Renew the held leases every 5 s while the block runs."""
        async with contextlib.AsyncExitStack() as stack:
            if self._holders is not None:
                await stack.enter_async_context(self._holders.answering(self.me.token, self._has))
            await stack.enter_async_context(beside(self._renew()))
            yield

    async def _renew(self) -> None:
        pause = RENEW
        while True:
            await _pause(pause)
            if self._holders is not None:
                self._holders.note()
            # Concurrently: none may wait for another's timeout, or for the answer of another's holder.
            done = await asyncio.gather(*(self._try_to_keep(key, held) for key, held in self._held.items()))
            errors = [error for error in done if error]
            if errors:
                log.info("lease.not_renewed", error=str(errors[0]), leases=len(errors))
            pause = min(AGAIN, RENEW) if errors else RENEW

    async def _try_to_keep(self, key: str, held: _Held) -> Unavailable | None:
        try:
            await self._keep(key, held)
        except Conflict:
            return None  # it has just changed: the next round reads it again
        except Unavailable as error:
            return error
        return None

    async def _keep(self, key: str, held: _Held) -> None:
        """Renew the lease, unless another instance took the event while this one was disconnected.

        When this instance never had the lease, its holder may be long gone, and is asked.
        """
        stored = await self._bucket.get(key)
        if self._held.get(key) is not held:
            return
        if stored is not None and stored.revision < held.epoch:
            return  # a replica without the last write
        if stored is not None and self._is_foreign(stored.value):
            lives = held.epoch > 0 or await self._lives(stored)
            if lives is None or self._held.get(key) is not held:
                return
            if lives:
                del self._held[key]
                log.warning("lease.lost", lease=key, session=held.lease.session)
                self._lost(held.lease.session)
                return
        held.epoch = await self._write(key, stored, held.lease)
        if self._held.get(key) is not held:  # released meanwhile
            await self._bucket.delete(key, held.epoch)
        elif stored is None or stored.value.session != held.lease.session:
            log.info("lease.taken_again", lease=key, session=held.lease.session)
            self._back(held.lease.session)


async def _pause(duration: timedelta) -> None:
    """Sleep, but return at once after this process stalled: others may have asked it meanwhile."""
    loop = asyncio.get_running_loop()
    until = loop.time() + duration.total_seconds()
    while (left := until - loop.time()) > 0:
        due = loop.time() + min(left, BEAT.total_seconds())
        await asyncio.sleep(due - loop.time())
        if loop.time() - due > STOOD.total_seconds():
            return
