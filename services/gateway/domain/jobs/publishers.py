"""A job's publishers, as the ingester last reported them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from nats.js import JetStreamContext

from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.sessions import PublisherStatus, status_prefix
from shared.runtime.clock import Clock

STALE: Final = timedelta(seconds=30)

PublisherState = Literal["live", "ended", "lost"]


class Publisher(NamedTuple):
    """A publisher as last reported, and its state now."""

    state: PublisherState
    status: PublisherStatus


class Publishers:
    """Reads publishers from the ingester's bucket."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self._bucket = Bucket(jetstream, buckets.SESSIONS, PublisherStatus)
        self._clock = clock

    async def of(self, account: str, event: str) -> list[Publisher]:
        """Return a job's publishers: the connected ones, then the former ones, the latest first."""
        keys = await self._bucket.keys(status_prefix(account, event))
        stored = await asyncio.gather(*map(self._bucket.get, keys))
        found = [publisher_at(s.value, self._clock.now_ms()) for s in stored if s is not None]
        return sorted(found, key=lambda p: (p.state == "live", p.status.since_ms), reverse=True)


def publisher_at(status: PublisherStatus, now_ms: int) -> Publisher:
    """Return a publisher with its state at a time."""
    silent = timedelta(milliseconds=now_ms - status.updated_ms)
    return Publisher("ended" if status.ended_ms is not None else "lost" if silent > STALE else "live", status)
