"""The parts that delivery works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache
from fastapi import Request
from nats.js import JetStreamContext

from services.gateway.delivery.bodies import Bodies
from services.gateway.delivery.captions import has_captions
from services.gateway.delivery.index.live import PATIENCE, RETRY_NS, LiveIndex, Shelf
from services.gateway.domain.errors import no_such
from services.gateway.http.parts import part_of
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import MediaError, Unavailable
from shared.media.mp4.init import parse_init
from shared.media.tracks import TrackConfig
from shared.messages.jobs import JobRecord
from shared.recording.asking import Asking
from shared.runtime.clock import Clock
from shared.security.secrets import Vault
from shared.store.base import MediaStore, ObjectMissing

JOB_FRESH_NS: Final = 1_000_000_000
MOST_JOBS: Final = 4096
MOST_INITS: Final = 1024
LARGEST_INIT: Final = 1 << 20


@dataclass(slots=True)
class Delivery:
    """The parts of delivery.

    `base_url` returns the gateway's public URL without a slash at its end.
    """

    js: Callable[[], JetStreamContext]
    store: MediaStore
    vault: Vault
    clock: Clock
    base_url: Callable[[], str]
    asking: Asking | None = None
    shelf: Shelf = field(init=False)
    bodies: Bodies = field(init=False, default_factory=Bodies)
    _jobs: Bucket[JobRecord] = field(init=False)
    _known_jobs: LRUCache[str, tuple[int, JobRecord]] = field(init=False, default_factory=lambda: LRUCache(MOST_JOBS))
    _inits: LRUCache[str, tuple[TrackConfig, ...]] = field(init=False, default_factory=lambda: LRUCache(MOST_INITS))
    _captions: LRUCache[str, bool] = field(init=False, default_factory=lambda: LRUCache(MOST_INITS))

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.js, self.store, self.clock, asking=self.asking)
        self._jobs = Bucket(self.js, buckets.JOBS, JobRecord)

    async def job(self, account: str, event: str) -> JobRecord:
        """Return an event's job, at most a second old; NotFound when the account has none of that id."""
        key = f"{account}.{event}"
        now = self.clock.monotonic_ns()
        known = self._known_jobs.get(key)
        if known is not None and now - known[0] <= JOB_FRESH_NS:
            return known[1]
        try:
            async with asyncio.timeout(None if known is None else PATIENCE.total_seconds()):
                stored = await self._jobs.get(key)
        except (Unavailable, TimeoutError):
            if known is None:
                raise
            self._known_jobs[key] = (now + RETRY_NS, known[1])
            return known[1]
        if stored is None:
            raise no_such("job")
        self._known_jobs[key] = (now, stored.value)
        return stored.value

    async def index(self, account: str, event: str) -> LiveIndex:
        """Return the event's index, up to date."""
        return await self.shelf.index(account, event)

    async def tracks_of(self, init_key: str) -> tuple[TrackConfig, ...]:
        """Return the tracks of an init segment; none when it is gone or not readable."""
        known = self._inits.get(init_key)
        if known is None:
            try:
                data = await asyncio.to_thread(self.store.get, init_key, limit=LARGEST_INIT)
                known = tuple(parse_init(data))
            except ObjectMissing:
                return ()
            except MediaError:
                known = ()
            self._inits[init_key] = known
        return known

    async def captioned(self, segment: str, size: int) -> bool:
        """Return whether a segment's pictures have captions, as far as its beginning tells."""
        known = self._captions.get(segment)
        if known is None:
            known = await asyncio.to_thread(has_captions, self.store, segment, size)
            if known is None:
                return False
            self._captions[segment] = known
        return known


def delivery_of(request: Request) -> Delivery:
    """Return the parts of delivery."""
    return part_of(request, Delivery)
