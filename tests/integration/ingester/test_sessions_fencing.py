"""An ingester that is cut off from the broker, or outlives its lease, while its encoder streams on (ADR 17)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from services.gateway.app import build as gateway
from services.scheduler.app import build as scheduler
from shared.broker.kv import Bucket
from shared.media.mp4.fragments import read_fragments
from shared.media.timeline import Timeline
from shared.messages.jobs import JobRecord
from shared.messages.live import LiveFinish
from shared.messages.media import SegmentWritten
from shared.runtime.settings import TakeUp
from tests.support.cut_line import CutLine
from tests.support.media_streams import encode
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import until
from tests.support.sessions_desk import ACCOUNT, Desk, desk, shorten_leases
from tests.support.shared_bus import free_port, send, served
from tests.support.waiting import freeze

RATE = 30
REAL = [pytest.param(False, id="short"), pytest.param(True, id="real", marks=pytest.mark.soak)]
"""With leases and outages shortened alike, and as long as they were when they were seen to do harm."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety seconds with a keyframe a second."""
    return encode(tmp_path_factory.mktemp("source") / "source.flv", seconds=90, gop=RATE)


@contextlib.asynccontextmanager
async def broker(
    tmp_path: Path, source: Path, take_up: TakeUp = "never", *, real: bool = False
) -> AsyncIterator[tuple[NatsServer, Desk]]:
    """Run a broker with gateway and scheduler; `real`: leases last as long as they do."""
    with nats_server(tmp_path / "nats") as server:
        async with desk(server, tmp_path, source) as at:
            if not real:
                await shorten_leases(at.js)
            settings = at.settings.model_copy(update={"http_port": free_port(), "take_up": take_up})
            async with served("gateway", gateway, settings), served("scheduler", scheduler, settings):
                await at.job()
                yield server, at


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


async def job_of(at: Desk) -> JobRecord:
    stored = await Bucket(lambda: at.js, "events", JobRecord).get(f"{ACCOUNT}.{at.event}")
    assert stored is not None
    return stored.value


async def is_in(at: Desk, state: str) -> bool:
    return (await job_of(at)).state == state


async def recorded(at: Desk, count: int) -> list[SegmentWritten]:
    async def look() -> list[SegmentWritten] | None:
        found = await at.segments()
        return found if len({s.sequence for s in found}) >= count else None

    segments: list[SegmentWritten] = await until(look, 60)
    return segments


def files(at: Desk) -> dict[str, int]:
    """Give the sizes of the segments on disk, without copies."""
    return {p.name: p.stat().st_size for p in (at.store.path(f"live/{at.event}")).rglob("????????.m4s")}


async def written(at: Desk, count: int) -> None:
    """Wait until so many segments have been begun on disk."""
    await until(lambda: asyncio.sleep(0, len(files(at)) >= count), 60)


def check_whole(at: Desk, segments: list[SegmentWritten]) -> None:
    """One session, each second of it, all bytes that lie on disk."""
    placed = Timeline(segments).placed
    assert [p.segment.sequence for p in placed] == list(range(len(placed)))
    for before, after in pairwise(placed):
        assert before.end == after.start
    for p in placed:
        path = at.store.path(p.segment.key)
        assert path.stat().st_size == p.segment.bytes == read_fragments(path).valid[0]
        assert path.name == f"{p.segment.sequence:08d}.m4s"


@pytest.mark.parametrize("real", REAL)
async def test_a_broker_that_stood_still_longer_than_leases_last_ends_no_session(
    tmp_path: Path, source: Path, real: bool
) -> None:
    """Another ingester starts while it does, and finds an open session without a lease."""
    async with broker(tmp_path, source, real=real) as (server, at):
        with at.ingester(tmp_path / "log"), contextlib.ExitStack() as later:
            await until(lambda: asyncio.to_thread(listens, at.rtmp), 60)
            with ending(at.encoder()) as encoder:
                before = len(await recorded(at, 2))
                assert server.process is not None
                freeze(server.process.pid)
                thaw_at = asyncio.get_running_loop().time() + (19 if real else 0)
                try:
                    later.enter_context(at.ingester(tmp_path / "other", REELAY_RTMP_PORT=str(free_port())))
                    await written(at, before + 5)
                    await asyncio.sleep(thaw_at - asyncio.get_running_loop().time())  # just so long: it is the case
                finally:
                    os.kill(server.process.pid, signal.SIGCONT)
                await until(lambda: asyncio.sleep(0, "service.started" in (tmp_path / "other").read_text()), 60)
                await recorded(at, len(files(at)) + 7)  # longer than a session without a lease is waited for
                assert encoder.poll() is None
                assert await is_in(at, "processing")
            await until(at.ended)
            check_whole(at, await at.segments())
            assert await at.said() == ["started", "disconnected"]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("real", REAL)
async def test_a_living_ingester_of_this_machine_that_is_cut_off_is_not_declared_dead(
    tmp_path: Path, source: Path, real: bool
) -> None:
    async with broker(tmp_path, source, real=real) as (server, at), CutLine(server.url).running() as line:
        other = {"REELAY_RTMP_PORT": str(free_port())}
        with at.ingester(tmp_path / "log", REELAY_NATS_URL=line.url), at.ingester(tmp_path / "other", **other):
            await until(lambda: asyncio.to_thread(listens, at.rtmp), 60)
            with ending(at.encoder()) as encoder:
                before = len(await recorded(at, 2))
                line.cut()
                await written(at, before + (15 if real else 12))  # 24 s (30 s): leases and patience are over
                assert await is_in(at, "processing")
                line.mend()
                await recorded(at, before + (17 if real else 14))
                assert encoder.poll() is None
                assert await is_in(at, "processing")
            await until(at.ended)
            check_whole(at, await at.segments())
            assert await at.said() == ["started", "disconnected"]


@pytest.mark.parametrize("real", REAL)
async def test_a_session_declared_over_while_its_ingester_was_cut_off_goes_on(
    tmp_path: Path, source: Path, real: bool
) -> None:
    """Nobody can tell that a process of another machine lives. What lies on a shared disk is left as it is."""
    async with broker(tmp_path, source, real=real) as (server, at), CutLine(server.url).running() as line:
        other = {"REELAY_RTMP_PORT": str(free_port())}
        first = at.ingester(tmp_path / "log", "tests.support.ingester_elsewhere", REELAY_NATS_URL=line.url)
        with first, at.ingester(tmp_path / "other", **other):
            await until(lambda: asyncio.to_thread(listens, at.rtmp), 60)
            with ending(at.encoder()) as encoder:
                before = len(await recorded(at, 2))
                line.cut()
                await until(lambda: is_in(at, "disconnected"), 60)
                await written(at, before + (15 if real else 0))  # 30 s
                salvaged = await at.segments()
                short = [s for s in salvaged if len(s.key.rsplit("/", 1)[1]) == len("000000000000.m4s")]
                assert len(short) == 1, "the one being written is published as a copy"
                assert at.store.path(short[0].key).stat().st_size == short[0].bytes
                line.mend()
                await until(lambda: is_in(at, "processing"), 60)
                await recorded(at, len({s.sequence for s in salvaged}) + 4)
                assert encoder.poll() is None
                [session] = await at.sessions()
                assert session.ended_ms is None
            await until(at.ended)
            check_whole(at, await at.segments())
            assert await at.said() == ["started", "killed", "started", "disconnected"]
            await until(lambda: is_in(at, "disconnected"), 60)
            assert [c.state for c in (await job_of(at)).history][-4:] == [
                "processing", "disconnected", "processing", "disconnected",
            ]  # fmt: skip


@pytest.mark.parametrize("take_up", ["never", "away"])
async def test_a_job_finished_too_early_is_taken_up_by_its_encoder(
    tmp_path: Path, source: Path, take_up: TakeUp
) -> None:
    async with broker(tmp_path, source, take_up) as (_, at):
        with at.ingester(tmp_path / "log", REELAY_TAKE_UP=take_up):
            await until(lambda: asyncio.to_thread(listens, at.rtmp), 60)
            with ending(at.encoder()):
                await recorded(at, 2)
            [first] = await until(at.ended)
            await until(lambda: is_in(at, "disconnected"))
            waited = LiveFinish(
                account=ACCOUNT, event=at.event, session=first.session, reason="reconnect_time", at_ms=first.ended_ms
            )
            await send(at.js, waited)
            await until(lambda: is_in(at, "finished"))
            before = len(await at.segments())
            with ending(at.encoder()) as encoder:
                if take_up == "never":
                    assert await asyncio.to_thread(encoder.wait, 60) != 0
                    assert await is_in(at, "finished")
                    return
                await recorded_in_all(at, before + 2)
                await until(lambda: is_in(at, "processing"))
            await until(lambda: at.ended(2))
            await until(lambda: is_in(at, "disconnected"))
            assert len({s.origin_ms for s in await at.segments()}) == 2, "one recording, with a gap"


async def recorded_in_all(at: Desk, count: int) -> None:
    async def look() -> bool:
        return len(await at.segments()) >= count

    await until(look, 60)
