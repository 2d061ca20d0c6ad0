"""Locks keep ranges of recordings from retention, and from deletion by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import TooLarge
from shared.broker import buckets
from shared.broker.kv import Bucket, Conflict
from shared.messages.locks import MOST_LOCKS, Lock, RecordingLocks

TRIES: Final = 40


class Locks:
    """The bucket `locks`. A recording without a lock has no record in it."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._bucket = Bucket(jetstream, buckets.LOCKS, RecordingLocks)

    async def of(self, account: str, event: str) -> tuple[Lock, ...]:
        """Return a recording's locks, in order."""
        stored = await self._bucket.get(f"{account}.{event}")
        return stored.value.locks if stored else ()

    async def touch(self, account: str, event: str, from_ms: int, to_ms: int) -> bool:
        """Return whether any of a range is locked."""
        return any(lock.touches(from_ms, to_ms) for lock in await self.of(account, event))

    async def add(self, account: str, event: str, from_ms: int, to_ms: int) -> None:
        """Lock a range; the same again changes nothing. TooLarge when there would be too many locks."""
        await self._change(account, event, lambda locks: joined([*locks, Lock(from_ms=from_ms, to_ms=to_ms)]))

    async def remove(self, account: str, event: str, from_ms: int, to_ms: int) -> None:
        """Unlock a range; what of a lock lies outside stays locked."""
        await self._change(account, event, lambda locks: without(locks, from_ms, to_ms))

    async def _change(self, account: str, event: str, how: Callable[[tuple[Lock, ...]], tuple[Lock, ...]]) -> None:
        key = f"{account}.{event}"
        for _ in range(TRIES):
            stored = await self._bucket.get(key)
            before = stored.value.locks if stored else ()
            after = how(before)
            if after == before:
                return
            if len(after) > MOST_LOCKS:
                raise TooLarge(f"a recording has at most {MOST_LOCKS} locks")
            record = RecordingLocks(account=account, event=event, locks=after)
            try:
                if stored is None:
                    await self._bucket.create(key, record)
                elif after:
                    await self._bucket.replace(stored, record)
                else:
                    await self._bucket.delete(key, stored.revision)
            except Conflict:
                continue
            return
        raise Conflict(f"the locks of {event} keep changing")


def joined(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """Return locks in order, those that overlap or meet as one."""
    found: list[Lock] = []
    for lock in sorted(locks, key=lambda one: one.from_ms):
        if found and lock.from_ms <= found[-1].to_ms:
            found[-1] = Lock(from_ms=found[-1].from_ms, to_ms=max(found[-1].to_ms, lock.to_ms))
        else:
            found.append(lock)
    return tuple(found)


def without(locks: Iterable[Lock], from_ms: int, to_ms: int) -> tuple[Lock, ...]:
    """Return what of the locks lies outside a range."""
    left: list[Lock] = []
    for lock in locks:
        if not lock.touches(from_ms, to_ms):
            left.append(lock)
            continue
        if lock.from_ms < from_ms:
            left.append(Lock(from_ms=lock.from_ms, to_ms=from_ms))
        if lock.to_ms > to_ms:
            left.append(Lock(from_ms=to_ms, to_ms=lock.to_ms))
    return tuple(left)
