"""A recording without media: segments as an ingester announces them, and their publication."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import nats as nats_py
from nats.js import JetStreamContext

from shared.broker.bus import headers_of
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import subject_of
from shared.messages.media import SegmentWritten
from shared.runtime.clock import SystemClock

ACCOUNT = "acme"
# 2023-11-14T22:00:00Z: the start of an hour.
HOUR_START_MS = 1_699_999_200_000


@dataclass
class Session:
    """One ingest session of 2 s segments; `skip` leaves gaps, `origin_ms` is its start in the event."""

    event: str
    origin_ms: int = 0
    first_frame_ms: int = HOUR_START_MS
    session: str = field(default_factory=lambda: uuid4().hex)
    track: str = "primary-1"
    init: int = 0
    duration: int = 180_000
    timescale: int = 90_000

    def segment(self, sequence: int, **changes: object) -> SegmentWritten:
        folder = f"live/{self.event}/{self.session}/{self.track}"
        start = sequence * self.duration
        fields = {
            "account": ACCOUNT,
            "event": self.event,
            "session": self.session,
            "track": self.track,
            "sequence": sequence,
            "key": f"{folder}/{sequence:08}.m4s",
            "init_key": f"{folder}/init-{self.init}.mp4",
            "start": start,
            "duration": self.duration,
            "timescale": self.timescale,
            "origin_ms": self.origin_ms,
            "wall_start_ms": self.first_frame_ms + self.origin_ms + start * 1000 // self.timescale,
            "bytes": 1_250_000,
            "sha256": hashlib.sha256(f"{self.session}{sequence}".encode()).hexdigest(),
            "keyframes": (start,),
        }
        return SegmentWritten.model_validate(fields | changes)

    def segments(self, count: int, first: int = 0, **changes: object) -> list[SegmentWritten]:
        return [self.segment(sequence, **changes) for sequence in range(first, first + count)]


async def publish(js: JetStreamContext, segments: Iterable[SegmentWritten], *, dedup: bool = True) -> int:
    """Publish in order, a window at a time; return the sequence of the last."""
    place = 0
    for segment in segments:
        headers = headers_of(segment, "ingester", SystemClock())
        if not dedup:
            del headers["Nats-Msg-Id"]
        body = json.dumps(segment.model_dump(mode="json")).encode()
        place = (await js.publish(subject_of(segment), body, stream=SEGMENTS, headers=headers, timeout=10)).seq
    return place


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[JetStreamContext]:
    connection = await nats_py.connect(url)
    try:
        yield connection.jetstream(timeout=10)
    finally:
        await connection.close()


def new_event() -> str:
    return uuid4().hex


async def until(probe: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """Wait until `probe` returns something true, and return it; TimeoutError when it does not."""
    async with asyncio.timeout(seconds):
        while True:
            if found := await probe():
                return found
            await asyncio.sleep(0.02)
