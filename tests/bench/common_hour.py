"""Records an hour in a minute: a stream through the real recorder at full speed, as if it had just ended."""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from services.ingester.feed import SessionFeed, SessionRecords
from services.ingester.leases import Lease, Leases
from services.ingester.recorder.loop import record
from shared.broker.kv import Bucket
from shared.messages.sessions import EventClock, PublisherStatus, SessionRecord
from shared.runtime.clock import SystemClock
from shared.runtime.service import make_service
from shared.runtime.settings import Settings
from shared.store.opening import open_store
from tests.bench.common_media import Stream, flv


class MediaClock:
    """A clock that runs as fast as media is read, and reaches the present when all is read."""

    def __init__(self, seconds: int) -> None:
        self._began_ms = SystemClock().now_ms() - seconds * 1000
        self.media_ms = 0

    def now_ms(self) -> int:
        return self._began_ms + self.media_ms

    def monotonic_ns(self) -> int:
        return self.media_ms * 1_000_000


class Past:
    """FLV of a stream as a recorder's source; advances the clock."""

    format = "flv"

    def __init__(self, stream: Stream, seconds: int, clock: MediaClock) -> None:
        self._pieces: Iterator[bytes] = flv(stream, seconds)
        self._clock = clock
        self._rate = seconds * 1000 / sum(map(len, flv(stream, 16))) * 16 / seconds  # ms per byte
        self._read = 0
        self._piece = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        data = bytes(self._piece[:size])
        self._piece = self._piece[size:]
        self._read += len(data)
        self._clock.media_ms = int(self._read * self._rate)
        return data


async def feed(folder: Path, nats_url: str, job: dict[str, Any], stream: Stream, seconds: int) -> None:
    """Record a session of `seconds` into a running stack's job, which ends now."""
    clock = MediaClock(seconds)
    settings = Settings(data_dir=folder, nats_url=nats_url)
    service = make_service("ingester", settings, clock)
    store = open_store(settings)
    await service.broker.connect()
    try:
        kept = partial(Bucket, service.js, "sessions")
        records = SessionRecords(kept(SessionRecord), kept(EventClock), kept(PublisherStatus))
        leases = Leases(Bucket(service.js, "leases", Lease), service.instance, socket.gethostname())
        session = SessionRecord(
            account=job["account_id"], event=job["id"], session=uuid.uuid4().hex, protocol="rtmp",
            instance=service.instance, first_frame_ms=0, origin_ms=0,
        )  # fmt: skip
        await leases.take(session.account, session.event, session.session)
        async with leases.renewing():
            to = SessionFeed(session, records, service.outbox, store, clock)
            published = asyncio.create_task(to.run())
            source, prefix = Past(stream, seconds, clock), to.prefix
            await asyncio.to_thread(
                record, source, to, lambda name: store.begin(f"{prefix}/{name}"), clock, threading.Event()
            )
            to.ended("unpublished")
            await published
            await leases.release(session.account, session.event, session.session)
    finally:
        await service.broker.stop()
