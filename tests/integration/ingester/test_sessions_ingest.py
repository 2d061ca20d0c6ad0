"""Sessions of a real ingester: refused, stopped, killed, and recorded while the broker is away."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from shared.media.mp4.fragments import read_fragments
from shared.messages.media import SegmentWritten
from tests.support.media_streams import encode
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import until
from tests.support.sessions_desk import Desk, desk


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds with a keyframe a second."""
    return encode(tmp_path_factory.mktemp("source") / "source.flv", seconds=40, gop=30)


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def opened(at: Desk) -> None:
    """Wait until the RTMP port answers."""

    async def look() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", at.rtmp)) == 0

    await until(look, 60)


async def recorded(at: Desk, count: int) -> list[SegmentWritten]:
    async def look() -> list[SegmentWritten] | None:
        found = await at.segments()
        return found if len(found) >= count else None

    segments: list[SegmentWritten] = await until(look, 60)
    return segments


def check_whole(at: Desk, segments: list[SegmentWritten]) -> None:
    """Each session's segments come in order, each once, without a hole, and lie in the store whole."""
    for session in {s.session for s in segments}:
        own = [s for s in segments if s.session == session]
        assert [s.sequence for s in own] == list(range(len(own)))
        for before, after in pairwise(own):
            assert before.start + before.duration == after.start
        for segment in own:
            path = at.store.path(segment.key)
            assert path.stat().st_size == segment.bytes == read_fragments(path).valid[0]


async def test_a_new_job_a_second_publisher_and_a_job_that_ends(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    async with desk(nats, tmp_path, source) as at:
        with at.ingester(tmp_path / "log"):
            await opened(at)
            with ending(at.encoder(key="wrong")) as wrong:
                assert await asyncio.to_thread(wrong.wait, 60) != 0
            await at.job()  # made a moment ago
            with ending(at.encoder()) as first:
                await recorded(at, 2)
                with ending(at.encoder()) as second:
                    assert await asyncio.to_thread(second.wait, 60) != 0
                assert first.poll() is None
                await at.job("cancelled")
                assert await asyncio.to_thread(first.wait, 60) is not None
            [session] = await until(at.ended)
            assert session.reason == "stopped"
            with ending(at.encoder()) as late:
                assert await asyncio.to_thread(late.wait, 60) != 0
            assert await at.said() == ["started", "stopped"]
            check_whole(at, await at.segments())
        log = (tmp_path / "log").read_text()
        assert at.key not in log
        assert "wrong" not in log


async def test_sigterm_publishes_the_last_segment_and_ends_the_session(
    nats: NatsServer, tmp_path: Path, source: Path
) -> None:
    async with desk(nats, tmp_path, source) as at:
        await at.job()
        with at.ingester(tmp_path / "log") as process:
            await opened(at)
            with ending(at.encoder()):
                await recorded(at, 2)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0
            [session] = await at.sessions()
            assert session.reason == "stopped"
            assert session.ended_ms is not None
            segments = await at.segments()
            assert len(segments) == session.segments
            assert {p.name for p in at.store.path(segments[0].key).parent.glob("*.m4s")} == {
                s.key.rsplit("/", 1)[1] for s in segments
            }
            check_whole(at, segments)
            assert await at.said() == ["started", "stopped"]


async def test_a_broker_that_is_away_costs_no_segment(tmp_path: Path, source: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with desk(server, tmp_path, source) as at:
            await at.job()
            with at.ingester(tmp_path / "log"):
                await opened(at)
                with ending(at.encoder()):
                    before = await recorded(at, 1)
                    server.kill()
                    folder = at.store.path(before[0].key).parent
                    await until(lambda: asyncio.sleep(0, len(list(folder.glob("*.m4s"))) >= len(before) + 3))
                    server.start()
                    segments = await recorded(at, len(before) + 3)
                    check_whole(at, segments)
                    assert len({s.session for s in segments}) == 1
                    await at.job("finished")
                    [session] = await until(at.ended)
            segments = await at.segments()
            assert len(segments) == session.segments
            check_whole(at, segments)
            assert await at.said() == ["started", "stopped"]


async def test_killed_while_it_records(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    """Everything whole on disk is published after a restart, and the next session knows the gap."""
    async with desk(nats, tmp_path, source) as at:
        await at.job()
        with at.ingester(tmp_path / "log") as process:
            await opened(at)
            with ending(at.encoder()):
                before = await recorded(at, 1)
                folder = at.store.path(before[0].key).parent
                torn = folder / f"{len(before) + 1:08d}.m4s"
                await until(lambda: asyncio.sleep(0, torn.exists()))
                process.kill()
                process.wait(10)
        whole = {p.name: read_fragments(p).valid[0] for p in sorted(folder.glob("*.m4s"))}
        with torn.open("ab") as file:
            file.write(b"\x00\x00\x10\x00moof half a part")
        with at.ingester(tmp_path / "log"):
            await opened(at)
            [session] = await until(at.ended)
            assert session.reason == "killed"
            segments = await at.segments()
            assert {s.key.rsplit("/", 1)[1]: s.bytes for s in segments} == whole
            assert [s.recovered for s in segments] == sorted(s.recovered for s in segments)
            assert segments[-1].recovered
            assert session.segments == len(segments)
            check_whole(at, segments)
            with ending(at.encoder()):
                again = (await recorded(at, len(segments) + 1))[len(segments) :]
            lasted = segments[-1].start + segments[-1].duration
            assert again[0].session != session.session
            assert again[0].origin_ms > lasted * 1000 // 90000
            assert again[0].start == 0
            await until(lambda: at.ended(2))
            assert await at.said() == ["started", "killed", "started", "disconnected"]
