"""Records an hour in a minute: a stream through the real recorder at full speed, as if it had just ended."""

from __future__ import annotations

import asyncio
import socket
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
from tests.bench.common_media import LOOP_MS, Stream, flv
from tests.support.media_recording import SteppedClock, frames_of

READ_SIZE = 65_536


class MediaClock(SteppedClock):
    """A clock that runs as fast as media is read, and reaches the present when all is read."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.ms, self.ns = SystemClock().now_ms() - seconds * 1000, 0


def past(stream: Stream, seconds: int, clock: MediaClock) -> Iterator[bytes | int]:
    """Yield a stream's FLV as a recorder's source, with pauses that last as long as what was read."""
    rate = LOOP_MS / sum(map(len, flv(stream, LOOP_MS // 1000)))  # ms a byte
    began, read = clock.ms, 0
    for piece in flv(stream, seconds):
        for start in range(0, len(piece), READ_SIZE):
            part = piece[start : start + READ_SIZE]
            yield part
            read += len(part)
            yield int(read * rate) - (clock.ms - began)


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
            source, prefix = frames_of("flv", past(stream, seconds, clock), clock), to.prefix
            await asyncio.to_thread(record, source, to, lambda name: store.begin(f"{prefix}/{name}"))
            to.ended("unpublished")
            await published
            await leases.release(session.account, session.event, session.session)
    finally:
        await service.broker.stop()
