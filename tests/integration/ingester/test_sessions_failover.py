"""An encoder whose ingester is killed or frozen comes to another one, and is recorded again at once.

The other one is on another machine, or so it believes: nobody there can look at the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.ingester.beside import is_copy
from shared.messages.sessions import SessionRecord
from tests.support.media_streams import encode
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import until
from tests.support.sessions_desk import Desk, desk, shorten_leases
from tests.support.shared_bus import free_port
from tests.support.waiting import freeze

ELSEWHERE = "tests.support.ingester_elsewhere"
BOUND = timedelta(seconds=30)
"""Ten times what is promised: other work on the machine comes in between."""


Two = tuple[Desk, subprocess.Popen[bytes], Desk]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("failover") / "s.flv", video="h264", seconds=60, gop=30, size="96x64")


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def listening(port: int) -> bool:
    with socket.socket() as probe:
        return await asyncio.to_thread(probe.connect_ex, ("127.0.0.1", port)) == 0


@asynccontextmanager
async def two(
    nats: NatsServer, folder: Path, source: Path
) -> AsyncIterator[tuple[Desk, subprocess.Popen[bytes], Desk]]:
    """Two ingesters, the first with a recording encoder; gives the desk of each, and the first's process."""
    async with desk(nats, folder, source) as first:
        await first.job()
        other = replace(first, rtmp=free_port())
        with (
            first.ingester(folder / "first") as process,
            other.ingester(folder / "second", ELSEWHERE),
        ):
            await until(lambda: listening(first.rtmp), 60)
            await until(lambda: listening(other.rtmp), 60)
            with ending(first.encoder()):
                await until(lambda: recorded(first, 1), 60)
                yield first, process, other


async def recorded(at: Desk, sessions: int) -> list[SessionRecord] | None:
    """Give the sessions once so many have a segment in the log."""
    found = {segment.session for segment in await at.segments()}
    return await at.sessions() if len(found) >= sessions else None


@asynccontextmanager
async def again(at: Desk, stopped: float, what: str) -> AsyncIterator[None]:
    """Come to the other ingester, as often as an encoder tries, and be recorded; print how long that took.

    The encoder goes on while the block runs.
    """
    before = {session.session for session in await at.sessions()}
    while True:
        with ending(at.encoder()) as encoder:

            async def begun(encoder: subprocess.Popen[bytes] = encoder) -> bool:
                fresh = [s for s in await at.sessions() if s.session not in before and s.first_frame_ms]
                return bool(fresh) or encoder.poll() is not None

            await until(begun, 60)
            if encoder.poll() is None:
                took = timedelta(seconds=time.monotonic() - stopped)
                print(f"\n{what}: recorded again after {took.total_seconds():.2f} s")
                assert took < BOUND
                await until(lambda: recorded(at, 2), 60)
                yield
                return


async def refused(at: Desk) -> bool:
    """Tell that an encoder of the same key is not let in."""
    with ending(at.encoder()) as encoder:
        return await asyncio.to_thread(encoder.wait, 60) != 0


async def test_an_encoder_of_a_killed_ingester_is_taken_by_another(
    nats: NatsServer, tmp_path: Path, source: Path
) -> None:
    async with two(nats, tmp_path, source) as (at, process, other):
        assert await refused(other), "while its holder lives, there is one encoder a key"
        process.kill()
        stopped = time.monotonic()
        async with again(other, stopped, "killed"):
            pass
        first, second = sorted(await other.sessions(), key=lambda s: s.first_frame_ms)
        assert second.epoch > first.epoch

        async def salvaged() -> bool:
            return (await at.said()).count("killed") == 1

        await until(salvaged, 60)


async def test_an_encoder_of_a_frozen_ingester_is_taken_by_another(
    nats: NatsServer, tmp_path: Path, source: Path
) -> None:
    async with two(nats, tmp_path, source) as (at, process, other):
        os.kill(process.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        async with again(other, stopped, "frozen"):
            frozen = min(await other.sessions(), key=lambda s: s.first_frame_ms)
            os.kill(process.pid, signal.SIGCONT)

            async def replaced() -> bool:
                return any(s.session == frozen.session and s.ended_ms is not None for s in await at.sessions())

            await until(replaced, 60)
        assert "replaced" in await at.said()


async def test_one_that_was_frozen_until_its_session_was_over_changes_nothing_that_was_published(
    tmp_path: Path, source: Path
) -> None:
    """It wakes up beside its event's next session. What it has whole is published; records and files stay."""
    with nats_server(tmp_path / "nats") as server:
        async with two(server, tmp_path, source) as (at, process, other):
            await shorten_leases(at.js)
            await until(lambda: is_writing(at), 60)
            freeze(process.pid)

            async def over() -> SessionRecord | None:
                return next((s for s in await at.sessions() if s.ended_ms is not None), None)

            ended: SessionRecord = await until(over, 60)
            published = {s.key: at.store.get(s.key) for s in await at.segments()}
            assert [key for key in published if is_copy(key)], "of the one that was being written"
            async with again(other, time.monotonic(), "over"):
                os.kill(process.pid, signal.SIGCONT)
                log = tmp_path / "first"
                await until(lambda: asyncio.sleep(0, "session.closed" in log.read_text()), 60)
                assert await at.said() == ["started", "killed", "started"]
                assert ended in await at.sessions()
                assert {key: at.store.get(key) for key in published} == published
                for segment in await at.segments():
                    data = at.store.get(segment.key)
                    assert (len(data), hashlib.sha256(data).hexdigest()) == (segment.bytes, segment.sha256)


async def is_writing(at: Desk) -> bool:
    """Tell that segments are published, and another one has been begun."""
    files = list(at.store.path(f"live/{at.event}").rglob("????????.m4s"))
    return len(files) > len(await at.segments()) >= 2


async def test_after_an_outage_of_the_broker_two_do_not_take_each_other_for_dead(tmp_path: Path, source: Path) -> None:
    """Both come back to the broker when they do. Whoever is there first hears no answer, and waits."""
    with nats_server(tmp_path / "nats") as server:
        async with two(server, tmp_path, source) as (at, _, other):
            for _ in range(3):
                server.kill()
                server.start()
                assert await refused(other)
            [session] = await until(lambda: recorded(at, 1))
            assert session.ended_ms is None
