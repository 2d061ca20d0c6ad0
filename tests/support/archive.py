"""An archiver in the test's process: its parts alone, or its handlers on the broker; and ways to kill it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.archiver.app import build
from services.archiver.compaction import Compactor
from services.archiver.records import RecordingRecords
from services.archiver.retention import Retention
from services.archiver.sweep import Sweeper
from services.clipper.ranges import SourceRanges
from services.clipper.state import begun
from services.gateway.delivery.index.live import LiveIndex, Shelf
from shared.broker.kv import Bucket
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.segment_head import SegmentHead, build_head
from shared.messages.clips import ClipCreate, ClipRecord
from shared.messages.destinations import DestinationSpec
from shared.messages.jobs import JobRecord
from shared.messages.live import JobState
from shared.messages.media import IndexedSegment, SegmentWritten
from shared.messages.ranges import Selection
from shared.messages.recordings import RecordingRecord
from shared.messages.sessions import SessionRecord
from shared.recording.hours import HOUR_MS, load_hour
from shared.runtime.clock import SystemClock
from shared.runtime.service import Service, make_service
from shared.runtime.settings import Settings
from shared.store import MediaStore, ObjectInfo
from shared.store.local import LocalStore
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish
from tests.support.webhook_stack import running

EACH = 6
"""Segments per hour that `recorded` records: each lasts ten minutes."""


class Killed(BaseException):
    """The process dies here: nothing catches it."""


class MortalStore(LocalStore):
    """A local store that dies before its n-th write or deletion."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.die_at: int | None = None
        self.steps = 0

    def _step(self) -> None:
        self.steps += 1
        if self.die_at is not None and self.steps >= self.die_at:
            raise Killed

    def put(self, key: str, data: bytes) -> None:
        self._step()
        super().put(key, data)

    def delete(self, key: str) -> None:
        self._step()
        super().delete(key)


class MortalRecords(RecordingRecords):
    """Records whose writes die, before or after the bucket has taken them."""

    def __init__(self, js: Any) -> None:
        super().__init__(js)
        self.die_at: int | None = None
        self.after = False
        self.steps = 0

    async def write(self, stored: Any, record: RecordingRecord) -> Any:
        self.steps += 1
        dies = self.die_at is not None and self.steps >= self.die_at
        if dies and not self.after:
            raise Killed
        written = await super().write(stored, record)
        if dies:
            raise Killed
        return written


class SetClock(SystemClock):
    """A wall clock that stands where it is set, and a monotonic one by which nothing is fresh."""

    at_ms = HOUR_START_MS
    _ns = 0

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_ns(self) -> int:
        self._ns += 60_000_000_000
        return self._ns


@dataclass
class Archive:
    """The archiver's parts over one broker and one folder."""

    service: Service
    clock: SetClock
    store: MortalStore
    records: MortalRecords
    compactor: Compactor
    retention: Retention
    sweeper: Sweeper

    @property
    def js(self) -> JetStreamContext:
        return self.service.js()

    async def job(self, event: str, state: JobState = "processing") -> None:
        job = JobRecord(
            account=ACCOUNT, event=event, state=state, created_ms=0, changed_ms=0, stream_key="", passphrase=""
        )
        await Bucket(self.service.js, "events", JobRecord).change(f"{ACCOUNT}.{event}", lambda _: job)

    async def record(self, event: str) -> RecordingRecord | None:
        stored = await self.records.recording(ACCOUNT, event)
        return stored.value if stored else None

    async def index(self, event: str) -> LiveIndex:
        """Make a new index, as a gateway that has just started."""
        return await Shelf(self.service.js, self.store, self.clock).index(ACCOUNT, event)

    def objects(self, event: str) -> list[str]:
        """Return all keys of an event in the store, without their common folder."""
        prefix = f"live/{event}"
        return [found.key.removeprefix(f"{prefix}/") for found in self.store.list(prefix)]

    def age(self, event: str) -> None:
        """Set the age of an event's index objects to two hours."""
        at_s = self.clock.at_ms / 1000 - 7200
        for found in self.store.list(f"live/{event}/index"):
            os.utime(self.store.path(found.key), (at_s, at_s))

    def immortal(self) -> None:
        self.store.die_at = self.records.die_at = None

    async def announced(self, channel: str, event: str) -> list[dict[str, Any]]:
        """Return the events of a channel about a recording, in order."""
        info = await self.js.add_consumer(
            "EVENTS",
            ConsumerConfig(
                filter_subject=f"{channel}.{ACCOUNT}.{event}", ack_policy=AckPolicy.NONE, mem_storage=True,
                deliver_policy=DeliverPolicy.ALL, inactive_threshold=5,
            ),
        )  # fmt: skip
        if not info.num_pending:
            return []
        reader = await self.js.pull_subscribe_bind(consumer=info.name, stream="EVENTS")
        return [json.loads(message.data) for message in await reader.fetch(info.num_pending, timeout=5)]


@contextlib.asynccontextmanager
async def archive(nats_url: str, folder: Path, keep: timedelta = timedelta(days=7)) -> AsyncIterator[Archive]:
    """Connect an archiver's parts, without its handlers."""
    settings = Settings(data_dir=folder, nats_url=nats_url)
    clock = SetClock()
    service = make_service("archiver", settings, clock)
    await service.broker.connect()
    try:
        yield parts(service, clock, MortalStore(settings.media_dir), keep)
    finally:
        await service.broker.stop()


def parts(service: Service, clock: SetClock, store: Any, keep: timedelta = timedelta(days=7)) -> Archive:
    """Make an archiver's parts; a second set over the same service and store is a second archiver."""
    records = MortalRecords(service.js)
    compactor = Compactor(service.js, store, records, service.outbox, clock)
    retention = Retention(service.js, store, records, service.outbox, clock, keep=keep)
    sweeper = Sweeper(service.js, records, compactor, retention, clock)
    return Archive(service, clock, store, records, compactor, retention, sweeper)


def running_archiver(
    nats_url: str, folder: Path, clock: SystemClock
) -> contextlib.AbstractAsyncContextManager[Service]:
    """Run the archiver with its handlers on the broker."""
    return running("archiver", build, Settings(data_dir=folder, nats_url=nats_url), clock)


def put_media(store: MediaStore, segments: Any) -> None:
    """Put a few bytes for each segment and init segment into the store."""
    for segment in segments:
        store.put(segment.key, segment.key.encode())
        store.put(segment.init_key, b"init")


def put_segment(store: MediaStore, segment: SegmentWritten) -> SegmentWritten:
    """Put a segment of a single frame into the store, whose file matches its announcement; return the announcement."""
    head = SegmentHead(segment.sequence, 1, segment.start, segment.timescale, segment.wall_start_ms, False)
    writer = FragmentWriter([SimpleNamespace(track_id=1, kind="video")])
    frame = Sample(segment.start, segment.start, segment.duration, True, segment.key.encode())
    body = build_head(head) + writer.part({1: [frame]})
    store.put(segment.key, body)
    init_key = segment.init_key.rsplit("/", 1)[0] + "/init-1.mp4"
    store.put(init_key, b"init")
    changes = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "init_key": init_key}
    return segment.model_copy(update=changes)


async def recorded(
    archiver: Archive, event: str, hours: int = 3, sessions: int = 1, *, keep_log: bool = False
) -> RecordingRecord:
    """Record by sessions of the same length, one after the other; the log no longer has any of it."""
    segments: list[SegmentWritten] = []
    count = hours * EACH // sessions
    for turn in range(sessions):
        session = Session(event, duration=600 * 90_000, origin_ms=turn * count * 600_000)
        segments += [put_segment(archiver.store, segment) for segment in session.segments(count)]
        record = SessionRecord(
            account=ACCOUNT, event=event, session=session.session, protocol="rtmp", instance="x",
            first_frame_ms=HOUR_START_MS + session.origin_ms, origin_ms=session.origin_ms,
            ended_ms=HOUR_START_MS + hours * HOUR_MS,
        )  # fmt: skip
        bucket = Bucket(archiver.service.js, "sessions", SessionRecord)
        await bucket.create(f"{ACCOUNT}.{event}.{session.session}", record)
    await publish(archiver.js, segments)
    archiver.clock.at_ms = HOUR_START_MS + hours * HOUR_MS
    await archiver.job(event, "finished")
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    if not keep_log:
        await archiver.js.purge_stream(SEGMENTS, subject=segments_subject(ACCOUNT, event))
    return await there(archiver, event)


async def there(archiver: Archive, event: str) -> RecordingRecord:
    record = await archiver.record(event)
    assert record is not None
    return record


def held(archiver: Archive, record: RecordingRecord) -> list[tuple[IndexedSegment, ...]]:
    return [load_hour(archiver.store, hour).segments for hour in record.hours]


async def clip_in_work(archiver: Archive, event: str, start_ms: int, end_ms: int) -> ClipRecord:
    """Hold the range of a clip by wall clock, as a clipper that has begun it."""
    clip = new_event()
    order = ClipCreate(
        account=ACCOUNT, clip=clip, event=event, requested_ms=archiver.clock.at_ms, live=True,
        selection=Selection(clock="wall", start=Fraction(start_ms, 1000), end=Fraction(end_ms, 1000)),
        asked_duration=Fraction(end_ms - start_ms, 1000),
        destinations=(DestinationSpec(export=clip, file_name="x.mp4"),),
    )  # fmt: skip
    record = begun(order, "processing", archiver.clock.at_ms)
    await SourceRanges(archiver.service.js, archiver.clock).hold(record)
    return record


def listed(objects: Iterator[ObjectInfo]) -> list[str]:
    return [found.key for found in objects]
