"""A restreamer in this process with a playout that only counts, and what a test needs to control it."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.js import JetStreamContext

from services.restreamer.app import build
from services.restreamer.model import TargetSpec, Track
from services.restreamer.playout import FileStarted, Playout, Report, Reporter, Snapshot, Started
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.broker.streams import EVENTS
from shared.messages.jobs import JobRecord
from shared.messages.restream_commands import RestreamCommand, Verb
from shared.messages.restreams import (
    FLICKS,
    Item,
    Move,
    PlaylistCursor,
    PlayoutRecord,
    RestreamRecord,
    RestreamSpec,
    Source,
    State,
    Target,
    TargetStatus,
)
from shared.runtime.clock import SystemClock
from shared.runtime.service import Service
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url
from tests.support.clipper_desk import read_all
from tests.support.nats import NatsServer
from tests.support.restream_orders import order_of
from tests.support.shared_bus import SECRET, in_queue, new_id, send, served, settings_for
from tests.support.webhook_stack import eventually

CLOCK = SystemClock()
VIDEO = Track("video", "h264", b"", 320, 180)


class CountingPlayout(Playout):
    """Plays nothing, in real time: its position advances by itself, its targets are live at once."""

    def __init__(self, report: Reporter) -> None:
        self.report_one = report
        self.calls: list[str] = []
        self.stopped = False
        self.begun = PlaylistCursor()
        self.targets: tuple[TargetSpec, ...] = ()
        self.now = Snapshot(PlaylistCursor())
        self._since_ns = CLOCK.monotonic_ns()

    def report(self, what: Report) -> None:
        """Report from another thread, as playout does."""
        asyncio.get_running_loop().run_in_executor(None, self.report_one, what)

    def start(
        self,
        spec: RestreamSpec,
        targets: Sequence[TargetSpec],
        cursor: PlaylistCursor | None = None,
        *,
        spec_number: int = 0,
        moved: int = 0,
        paused: bool = False,
    ) -> None:
        self.begun = cursor or PlaylistCursor(item=spec.first)
        self.targets = tuple(targets)
        self.now = Snapshot(self.begun, spec_number, moved, how="copied", paused=paused)
        self.report_one(Started())
        self.report_one(FileStarted(self.begun, spec.items[self.begun.item], "copied", "", VIDEO, None, None))

    def update(self, spec: RestreamSpec, spec_number: int, *, wait_current: bool) -> None:
        self.calls.append(f"update {spec_number} {wait_current}")
        self._jump(PlaylistCursor(item=spec.first), spec_number=spec_number)

    def pause(self) -> None:
        self.calls.append("pause")
        self._jump(self.snapshot().cursor, paused=True)

    def unpause(self) -> None:
        self.calls.append("unpause")
        self._jump(self.snapshot().cursor, paused=False)

    def move(self, move: Move) -> None:
        self.calls.append(f"move {move.item} {move.at}")
        self._jump(PlaylistCursor(item=max(move.item, 0), at=move.at), moved=move.number)

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        self.calls.append(f"targets {len(targets)}")
        self.targets = tuple(targets)

    def live(self, source: Source | None, *, back: bool = True) -> None:
        self.calls.append(f"live {source.location if source else None} {back}")

    def snapshot(self) -> Snapshot:
        cursor, still = self.now.cursor, self.now.paused or self.stopped
        gone_ns = 0 if still else CLOCK.monotonic_ns() - self._since_ns
        at = cursor.model_copy(update={"at": cursor.at + gone_ns * FLICKS // 1_000_000_000})
        told = tuple(TargetStatus(target=t.target, shown=t.shown, state="live", since_ms=1) for t in self.targets)
        return self._with(cursor=at, targets=told, played_ms=gone_ns // 1_000_000)

    def stop(self) -> None:
        self._jump(self.snapshot().cursor)
        self.stopped = True

    def join(self, seconds: float) -> bool:
        return self.stopped

    def _jump(self, cursor: PlaylistCursor, **changes: Any) -> None:
        self.now = self._with(cursor=cursor, **changes)
        self._since_ns = CLOCK.monotonic_ns()

    def _with(self, **changes: Any) -> Snapshot:
        return Snapshot(**{name: getattr(self.now, name) for name in Snapshot.__dataclass_fields__} | changes)


@dataclass
class Stage:
    """An instance and what it plays or played, in order."""

    service: Service
    played: list[tuple[RestreamRecord, CountingPlayout]]

    def of(self, restream: str) -> list[CountingPlayout]:
        return [playout for record, playout in self.played if record.restream == restream]


@contextlib.asynccontextmanager
async def stage(server: NatsServer, folder: Path, name: str = "one", **settings: Any) -> AsyncIterator[Stage]:
    """Run a restreamer."""
    played: list[tuple[RestreamRecord, CountingPlayout]] = []

    def make(record: RestreamRecord, report: Reporter) -> Playout:
        played.append((record, CountingPlayout(report)))
        return played[-1][1]

    given = settings_for(server, folder, instance=name, **settings)
    async with served("restreamer", lambda service: build(service, make), given) as service:
        yield Stage(service, played)


@dataclass
class Desk:
    """A restream, as the gateway sees it."""

    js: JetStreamContext
    account: str = field(default_factory=lambda: f"a{uuid.uuid4().hex[:12]}")
    restream: str = field(default_factory=new_id)
    vault: Vault = field(default_factory=lambda: Vault(SECRET.encode()))

    @property
    def key(self) -> str:
        return f"{self.account}.{self.restream}"

    @property
    def records(self) -> Bucket[RestreamRecord]:
        return Bucket(lambda: self.js, "restreams", RestreamRecord)

    @property
    def playouts(self) -> Bucket[PlayoutRecord]:
        return Bucket(lambda: self.js, buckets.PLAYOUTS, PlayoutRecord)

    @property
    def jobs(self) -> Bucket[JobRecord]:
        return Bucket(lambda: self.js, "events", JobRecord)

    def item(self, path: str) -> Item:
        return Item(source=Source(kind="library", location=path, shown=path))

    def target(self, url: str) -> Target:
        digest = uuid.uuid5(uuid.NAMESPACE_URL, url).hex[:16]
        return Target(target=digest, url=seal_url(self.vault, url), shown=url)

    def spec(self, *paths: str, to: Sequence[str] = ("rtmp://127.0.0.1/live/x",), **fields: Any) -> RestreamSpec:
        items = [self.item(path) for path in paths or ("one.mp4", "two.mp4")]
        return RestreamSpec(items=items, targets=[self.target(url) for url in to], **fields)

    async def send(self, verb: Verb, **fields: Any) -> RestreamCommand:
        """Send a command twice."""
        command = RestreamCommand(
            account=self.account,
            restream=self.restream,
            command=new_id(),
            at_ms=CLOCK.now_ms(),
            order=order_of(verb, **fields),
        )
        await send(self.js, command, times=2)
        return command

    async def idle(self) -> None:
        """Wait until all commands are applied."""

        async def done() -> bool:
            return not await in_queue(self.js, "restreamer-command")

        await eventually(done)

    async def record(self) -> RestreamRecord:
        stored = await self.records.get(self.key)
        assert stored is not None
        return stored.value

    async def playout(self) -> PlayoutRecord:
        stored = await self.playouts.get(self.key)
        assert stored is not None
        return stored.value

    async def state(self, state: State, run: int = 1) -> RestreamRecord:
        """Wait until a run is in a state."""

        async def is_so() -> RestreamRecord | None:
            stored = await self.records.get(self.key)
            same = stored and (stored.value.state, stored.value.run) == (state, run)
            return stored.value if stored and same else None

        return await eventually(is_so)

    async def held(self, by: str, run: int = 1) -> PlayoutRecord:
        """Wait until an instance holds the run ("": nobody)."""

        async def is_so() -> PlayoutRecord | None:
            stored = await self.playouts.get(self.key)
            same = stored and (stored.value.holder, stored.value.run) == (by, run)
            return stored.value if stored and same else None

        return await eventually(is_so, 60)

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the events, by the last words of their channels."""
        found = await read_all(self.js, EVENTS, f"restreams.*.{self.account}.{self.restream}")
        found += await read_all(self.js, EVENTS, f"restreams.*.*.{self.account}.{self.restream}")
        return [(channel.removeprefix("restreams."), body) for channel, body in found]

    async def told(self) -> list[tuple[int, str]]:
        """Return run and state of each state's event, once all are published."""
        await self.idle()

        async def all_told() -> bool:
            return not (await self.record()).untold

        await eventually(all_told)
        return [(body["run"], body["state"]) for channel, body in await self.events() if channel == "state_changed"]


@contextlib.asynccontextmanager
async def connected_desk(url: str, **fields: Any) -> AsyncIterator[Desk]:
    """Connect to a broker."""
    connection = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        yield Desk(connection.jetstream(timeout=10), **fields)
    finally:
        await connection.close()


def desk(server: NatsServer) -> contextlib.AbstractAsyncContextManager[Desk]:
    """Connect, with an account for the test alone."""
    return connected_desk(server.url)


async def begun(of: Stage, at: Desk, count: int = 1) -> CountingPlayout:
    """Wait until a restream was started `count` times; return the last playout."""

    async def so() -> bool:
        return len(of.of(at.restream)) >= count

    await eventually(so)
    assert len(of.of(at.restream)) == count
    return of.of(at.restream)[-1]


async def called(playout: CountingPlayout, *calls: str) -> None:
    """Wait for as many calls as `calls`; they must be equal."""

    async def so() -> bool:
        return len(playout.calls) >= len(calls)

    await eventually(so)
    assert playout.calls == list(calls)
