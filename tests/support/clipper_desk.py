"""Recordings that a clipper can cut: real segments in a local store, announced as by an ingester."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.clipper import app as clipper
from services.exporter import app as exporter
from services.scheduler import app as scheduler
from shared.broker.kv import Bucket
from shared.media.mp4.fragments import read_fragments
from shared.messages.clips import ClipCreate, ClipFile, ClipRecord
from shared.messages.destinations import DestinationSpec
from shared.messages.jobs import JobRecord
from shared.messages.live import JobState
from shared.messages.media import SegmentWritten
from shared.messages.ranges import ReelRange, Selection
from shared.messages.sessions import SessionRecord
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings
from shared.store.local import LocalStore
from tests.support.framecode import play
from tests.support.framecode_record import Recording
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import idle, new_id, send, served, settings_for

ACCOUNT = "main"
RATE = 30
LANES = (
    "clipper-create", "clipper-refine", "clipper-copy-long", "clipper-refine-long", "clipper-picture", "clipper-cancel",
    "clipper-jobs", "clipper-sending", "clipper-delivered", "clipper-undelivered", "clipper-aborted",
)  # fmt: skip
ENDED = {"finished", "cancelled", "failed", "error"}


async def read_all(js: JetStreamContext, stream: str, pattern: str) -> list[tuple[str, dict[str, Any]]]:
    """Read channel and body of all messages of a stream, in order."""
    config = ConsumerConfig(
        filter_subject=pattern, ack_policy=AckPolicy.NONE, mem_storage=True, deliver_policy=DeliverPolicy.ALL,
        inactive_threshold=5,
    )  # fmt: skip
    info = await js.add_consumer(stream, config)
    if not info.num_pending:
        return []
    reader = await js.pull_subscribe_bind(consumer=info.name, stream=stream)
    messages = await reader.fetch(info.num_pending, timeout=5)
    return [(m.subject.rsplit(".", 2)[0], json.loads(m.data)) for m in messages]


def keyframes(path: Path) -> tuple[int, ...]:
    """Return the presentation times of a segment's keyframes, in ticks; none for one that has only sound."""
    table = read_fragments(path).tables.get(1)
    return () if table is None else tuple(table.pts[table.sync].tolist())


@dataclass
class Desk:
    """One live event: acts as its ingester, its gateway and its viewers."""

    js: JetStreamContext
    settings: Settings
    event: str = field(default_factory=new_id)
    begun_ms: int = field(default_factory=lambda: SystemClock().now_ms() - 60_000)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.settings.media_dir)

    async def job(self, state: JobState) -> None:
        record = JobRecord(
            account=ACCOUNT, event=self.event, state=state, created_ms=0, changed_ms=0, stream_key="", passphrase=""
        )
        await Bucket(lambda: self.js, "events", JobRecord).change(f"{ACCOUNT}.{self.event}", lambda _: record)

    def session(self, recording: Recording, origin_ms: int = 0) -> list[SegmentWritten]:
        """Put a recording's files into the store as a session's; return what its ingester would publish."""
        session = new_id()
        prefix = f"live/{self.event}/{session}/primary-1"
        os.link(recording.init, self.store.begin(f"{prefix}/init-0.mp4"))
        zero = int(recording.shown[0] * 90000)
        found = []
        for sequence, segment in enumerate(recording.segments):
            key = f"{prefix}/{sequence:08d}.m4s"
            os.link(segment.path, self.store.begin(key))
            data = segment.path.read_bytes()
            found.append(SegmentWritten(
                account=ACCOUNT, event=self.event, session=session, sequence=sequence, key=key,
                init_key=f"{prefix}/init-0.mp4", start=segment.start, duration=segment.duration, timescale=90000,
                origin_ms=origin_ms, zero=zero, wall_start_ms=self.begun_ms + origin_ms + segment.start // 90,
                bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
                keyframes=keyframes(segment.path),
            ))  # fmt: skip
        return found

    async def publishing(self, segments: Sequence[SegmentWritten], *, ended: bool = False) -> None:
        """Record the segments' session as open, or over, as its ingester does."""
        one = segments[0]
        record = SessionRecord(
            account=ACCOUNT, event=self.event, session=one.session, protocol="rtmp", instance="test",
            first_frame_ms=self.begun_ms + one.origin_ms, origin_ms=one.origin_ms, zero=one.zero,
            ended_ms=SystemClock().now_ms() if ended else None,
        )  # fmt: skip
        key = f"{ACCOUNT}.{self.event}.{one.session}"
        await Bucket(lambda: self.js, "sessions", SessionRecord).change(key, lambda _: record)

    async def announce(self, segments: Sequence[SegmentWritten]) -> None:
        for segment in segments:
            await send(self.js, segment)

    def order(self, start: Fraction | int, end: Fraction | int, *, clock: str = "stream", **more: Any) -> ClipCreate:
        clip = new_id()
        moved = Fraction(self.begun_ms, 1000) if clock == "wall" else 0
        fields = {
            "account": ACCOUNT, "clip": clip, "event": self.event, "requested_ms": SystemClock().now_ms(),
            "selection": Selection(clock=clock, start=start + moved, end=end + moved),  # type: ignore[arg-type]
            "live": False, "asked_duration": Fraction(end) - start,
            "destinations": (DestinationSpec(export=clip, file_name=f"{clip}.mp4"),),
        }  # fmt: skip
        return ClipCreate.model_validate(fields | more)

    def reel(self, *ranges: tuple[Desk, Fraction | int, Fraction | int], **more: Any) -> ClipCreate:
        """Return the order of a reel of this event: ranges of stream time of any events.

        `waits`: the events whose end is waited for.
        """
        waits = more.pop("waits", {of.event for of, *_ in ranges} if more.get("wait") else set())
        parts = tuple(
            ReelRange(
                event=of.event, selection=Selection(clock="stream", start=Fraction(start), end=Fraction(end)),
                asked_duration=Fraction(end) - start, live=False, wait=of.event in waits,
            )
            for of, start, end in ranges
        )  # fmt: skip
        total = sum((part.asked_duration for part in parts), Fraction(0))
        return self.order(0, total, **{"ranges": parts, "selection": parts[0].selection, "wait": bool(waits)} | more)

    async def record(self, clip: str) -> ClipRecord | None:
        stored = await Bucket(lambda: self.js, "clips", ClipRecord).get(f"{ACCOUNT}.{clip}")
        return stored.value if stored else None

    async def ended(self, clip: str, seconds: float = 60) -> ClipRecord:
        """Wait until a clip has ended and the clipper has nothing left to do: events published, files removed."""

        async def look() -> ClipRecord | None:
            record = await self.record(clip)
            busy = [lane for lane in LANES if not await idle(self.js, lane)]
            return record if record and record.state in ENDED and not busy else None

        found: ClipRecord = await until(look, seconds)
        return found

    async def told(self, clip: str) -> list[str]:
        """Return what was published about a clip, in order: states by their names, other events by their channels.

        How far it was is left out: it is told of what takes long alone, and so on a busy machine of anything.
        """
        said = await read_all(self.js, "EVENTS", f"clips.*.{ACCOUNT}.{clip}")
        said += await read_all(self.js, "EVENTS", f"clips.*.*.{ACCOUNT}.{clip}")
        said.sort(key=lambda event: (event[1]["at_ms"], event[1].get("revision", 99)))
        names = (body["state"] if channel == "clips.state_changed" else channel for channel, body in said)
        return [name for name in names if name != "clips.progressed"]

    def file(self, clip: str) -> Path:
        return self.settings.library_dir / ACCOUNT / f"{clip}.mp4"


@asynccontextmanager
async def desk(nats: NatsServer, folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        yield Desk(js, settings_for(nats, folder, **settings))


@asynccontextmanager
async def serving(at: Desk, *names: str) -> AsyncIterator[None]:
    builds: dict[str, Any] = {"clipper": clipper.build, "exporter": exporter.build, "scheduler": scheduler.build}
    async with AsyncExitStack() as stack:
        for name in names or ("clipper", "exporter"):
            await stack.enter_async_context(served(name, builds[name], at.settings))
        yield


async def check(at: Desk, record: ClipRecord, numbers: list[int]) -> ClipFile:
    """Check a finished clip's file and record against the request."""
    assert (record.state, record.error) == ("finished", "")
    file = record.file
    assert file is not None
    assert (file.accuracy, file.frames) == ("frame", len(numbers))
    assert {(line.state, line.accuracy) for line in record.deliveries} == {("delivered", "frame")}
    made = at.file(record.clip)
    assert file.sha256 == hashlib.sha256(made.read_bytes()).hexdigest()
    assert made.read_bytes() == (at.store.path(file.key)).read_bytes()
    seen = play(made)
    assert (seen.numbers, seen.warnings) == (numbers, "")
    folder = at.store.path(file.key).parent

    async def alone() -> bool:
        return [path.name for path in folder.iterdir()] == ["frame.mp4"]

    await until(alone)  # the fast file goes after the clip's end was told
    return file


def frames(start: Fraction | int, end: Fraction | int) -> list[int]:
    return list(range(int(start * RATE), int(end * RATE)))
