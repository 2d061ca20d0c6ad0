"""An ingester in its own process with real RTMP publishers, and what it writes to broker and store."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext

from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.messages.keys import IngestKey
from shared.messages.live import JobState
from shared.messages.media import SegmentWritten
from shared.messages.sessions import SessionRecord
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings
from shared.security.secrets import Vault, hash_token
from shared.store.local import LocalStore
from tests.support.clipper_desk import read_all
from tests.support.nats import NatsServer
from tests.support.recordings import connected
from tests.support.rtmp_encoder import publish_command
from tests.support.shared_bus import SECRET, child, free_port, new_id, settings_for

ACCOUNT = "main"
LEASE_S = 6.0


@dataclass
class Desk:
    """A live event, its gateway's part, and its encoder. `keys` are those of all jobs made here, also by `next`."""

    js: JetStreamContext
    settings: Settings
    source: Path
    event: str = field(default_factory=new_id)
    key: str = field(default_factory=new_id)
    rtmp: int = field(default_factory=free_port)
    keys: set[str] = field(default_factory=set)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.settings.media_dir)

    def next(self) -> Desk:
        """Return a desk for another event at the same ingester."""
        return replace(self, event=new_id(), key=new_id())

    async def job(self, state: JobState = "standby", **more: Any) -> None:
        self.keys.add(self.key)
        vault = Vault(SECRET.encode())
        record = JobRecord(
            account=ACCOUNT, event=self.event, state=state, created_ms=SystemClock().now_ms(), changed_ms=0,
            stream_key=vault.encrypt(self.key, "stream-key"), passphrase=vault.encrypt(self.key, "passphrase"), **more,
        )  # fmt: skip
        await Bucket(lambda: self.js, "events", JobRecord).change(f"{ACCOUNT}.{self.event}", lambda _: record)
        ingest = IngestKey(account=ACCOUNT, event=self.event)
        keys = Bucket(lambda: self.js, "keys", IngestKey)
        await keys.change(f"ingest.{hash_token(self.key)}", lambda _: ingest)

    @contextlib.contextmanager
    def ingester(
        self, log: Path, module: str = "services.ingester", **environment: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        ports = {"REELAY_RTMP_PORT": str(self.rtmp), "REELAY_SRT_PORT": "0"}
        with child(self.settings, log, module, **(ports | environment)) as process:
            yield process

    def encoder(self, *, real_time: bool = True, key: str = "") -> subprocess.Popen[bytes]:
        url = f"rtmp://127.0.0.1:{self.rtmp}/live/{key or self.key}"
        command = publish_command(self.source, url, real_time=real_time)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def segments(self) -> list[SegmentWritten]:
        """Return the segments in the event's log."""
        found = await read_all(self.js, "SEGMENTS", f"media.segment.written.{ACCOUNT}.{self.event}")
        return [SegmentWritten.model_validate(body) for _, body in found]

    async def sessions(self) -> list[SessionRecord]:
        stored = await Bucket(lambda: self.js, "sessions", SessionRecord).items(f"{ACCOUNT}.{self.event}")
        return sorted((s.value for s in stored), key=lambda s: s.first_frame_ms)

    async def ended(self, count: int = 1) -> list[SessionRecord] | None:
        """Return the sessions once `count` of them have ended; None before."""
        sessions = await self.sessions()
        return sessions if sum(s.ended_ms is not None for s in sessions) >= count else None

    async def said(self) -> list[str]:
        """Return the events about sessions, in order; for an end, its reason."""
        found = await read_all(self.js, "EVENTS", f"live.session.*.{ACCOUNT}.{self.event}")
        return [body.get("reason", "started") for _, body in found]


async def shorten_leases(js: JetStreamContext) -> None:
    """Make leases expire after 6 s, so that no test takes a minute."""
    config = (await js.stream_info("KV_leases")).config
    await js.update_stream(replace(config, max_age=LEASE_S, duplicate_window=LEASE_S))


@contextlib.asynccontextmanager
async def desk(nats: NatsServer, folder: Path, source: Path) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        yield Desk(js, settings_for(nats, folder), source)
