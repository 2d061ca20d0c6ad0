"""What the broker has of publishers: live, ended, and of an ingester that was killed."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.ingester.recorder.stats import PublisherStats
from services.ingester.status import KEPT, Monitor, Statuses
from shared.broker.kv import Bucket
from shared.messages.sessions import PublisherStatus, SessionRecord, status_prefix
from tests.support.ingest_desk import another, ingesting, lines, statuses
from tests.support.media_recording import SteppedClock
from tests.support.media_streams import encode
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.sessions_desk import Desk, desk
from tests.support.shared_bus import new_id


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("status") / "source.flv", seconds=60, gop=30, size="320x180")


async def seen(at: Desk, frames: int) -> PublisherStatus | None:
    found = await statuses(at)
    return found[0] if found and found[0].frames >= frames and found[0].ended_ms is None else None


async def test_a_publisher_is_told_of_while_it_sends_and_when_it_has_gone(
    nats: NatsServer, tmp_path: Path, source: Path
) -> None:
    async with ingesting(nats, tmp_path, source) as (at, _):
        await another(at)
        encoder = at.encoder()
        try:
            early = await until(partial(seen, at, 1), 60)
            status = await until(partial(seen, at, early.frames + 1), 60)
        finally:
            encoder.kill()
            encoder.wait(10)
        assert (status.video_codec, status.width, status.height, status.audio_codec) == ("h264", 320, 180, "aac")
        assert abs(status.frame_rate - 30) < 0.1
        assert status.peer.startswith("127.0.0.1:")
        assert status.keyframes >= early.keyframes >= 1
        assert status.bytes > early.bytes > 0
        assert status.bitrate > 0
        assert (status.jumps, status.damaged_frames, status.unsupported) == (0, 0, ())
        await until(at.ended, 60)
        last = await until(lambda: gone(at))
        assert (last.session, last.reason) == (status.session, "disconnected")
        [line] = [line for line in lines(tmp_path) if line["event"] == "session.closed"]
        assert (line["reason"], line["job"], line["session"]) == ("disconnected", at.event, status.session)


async def gone(at: Desk) -> PublisherStatus | None:
    found = await statuses(at)
    return found[0] if found and found[0].ended_ms is not None else None


async def test_the_publisher_of_a_killed_ingester_ends_with_its_session(
    nats: NatsServer, tmp_path: Path, source: Path
) -> None:
    async with desk(nats, tmp_path, source) as at:
        await at.job()
        with at.ingester(tmp_path / "log") as process:
            await until(lambda: asyncio.sleep(0, "rtmp.server.started" in (tmp_path / "log").read_text()), 60)
            encoder = at.encoder()
            try:
                await until(at.segments, 60)
                live = await until(partial(seen, at, 1), 60)
                process.kill()
                process.wait(10)
            finally:
                encoder.kill()
                encoder.wait(10)
        with at.ingester(tmp_path / "log2"):
            await until(at.ended, 60)
            last = await until(lambda: gone(at))
        assert (last.session, last.reason, last.frames) == (live.session, "killed", live.frames)


async def test_the_last_publishers_are_kept_and_leave_nothing_else_behind(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        kept = Statuses(Bucket(lambda: js, "sessions", PublisherStatus))
        event, clock, came = new_id(), SteppedClock(), []
        line = SimpleNamespace(peer="[2001:db8::1]:5", dropped_frames=2, lost_packets=0)
        for _ in range(KEPT + 3):
            clock.pass_ms(1000)
            session = SessionRecord(account="main", event=event, session=new_id(), protocol="rtmp", instance="a",
                                    first_frame_ms=1, origin_ms=0)  # fmt: skip
            came.append(session.session)
            await kept.close(Monitor(session, line, PublisherStats(), clock), "unpublished")
        found = await Bucket(lambda: js, "sessions", PublisherStatus).items(status_prefix("main", event))
        assert {stored.value.session for stored in found} == set(came[3:])
        assert await Bucket(lambda: js, "sessions", SessionRecord).items(f"main.{event}") == []
