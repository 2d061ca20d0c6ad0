"""A service as a process: readiness, drain on SIGTERM; and its outbox: ids, schedules, a broker that is away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from nats.js.errors import NotFoundError

from shared.broker import bus
from shared.broker.streams import SCHEDULES, commands_of
from shared.errors import Unavailable
from shared.messages.clips import ClipCancel, ClipRefine
from shared.messages.schedules import Due
from shared.runtime.service import Service, make_service
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import connected, until
from tests.support.shared_bus import child, free_port, idle, is_done, new_id, refine, running, settings_for

LANE = "clipper-refine"


@asynccontextmanager
async def clipper(nats: NatsServer, folder: Path) -> AsyncIterator[Service]:
    service = make_service("clipper", settings_for(nats, folder))
    await service.broker.connect()
    try:
        yield service
    finally:
        await service.broker.stop()


def command() -> ClipRefine:
    return ClipRefine(account="main", clip=new_id())


async def test_a_repeated_publish_is_dropped_by_its_id(nats: NatsServer, tmp_path: Path) -> None:
    async with clipper(nats, tmp_path) as service:
        message = command()
        first = await service.outbox.emit(message)
        assert await service.outbox.emit(message) == first
        assert await service.outbox.emit(command()) == first + 1
        with pytest.raises(KeyError):
            await service.outbox.emit(ClipCancel(account="main", clip=new_id(), at_ms=0))
        held = await service.js().get_msg(commands_of("clipper"), first)
        assert held.headers is not None
        assert held.headers["ce-id"] == message.dedup_id
        await service.js().purge_stream(commands_of("clipper"))


async def test_emit_while_the_broker_is_away_ends_and_goes_on_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "ACK_TIMEOUT", timedelta(milliseconds=500))
    with nats_server(tmp_path / "nats") as server:
        async with clipper(server, tmp_path) as service:
            server.kill()
            message = command()
            async with asyncio.timeout(30):
                for call in (
                    service.outbox.emit(message),
                    service.outbox.schedule("x", 0, message),
                    service.outbox.unschedule("main", "x"),
                ):
                    with pytest.raises(Unavailable):
                        await call
            server.start()

            async def accepted() -> bool:
                try:
                    return await service.outbox.emit(message) > 0
                except Unavailable:
                    return False

            await until(accepted)
            assert (await service.js().stream_info(commands_of("clipper"))).state.messages == 1, (
                "the retries are one message"
            )


async def test_schedules_are_moved_and_cancelled(nats: NatsServer, tmp_path: Path) -> None:
    async with clipper(nats, tmp_path) as service:
        js, clip, other = service.js(), command(), command()
        later = time.time_ns() // 1_000_000 + 3_600_000
        for message in (clip, other):
            await service.outbox.schedule(f"s-{message.clip}", later, message)
        await service.outbox.unschedule("main", f"s-{other.clip}")
        await service.outbox.unschedule("main", "never-set")
        assert (await js.stream_info(SCHEDULES, subjects_filter="schedules.>")).state.messages == 1
        await service.outbox.schedule(f"s-{clip.clip}", later + 1, clip)
        await service.outbox.schedule(f"s-{clip.clip}", later - 7_200_000, clip)  # into the past: at once

        async def due() -> Due | None:
            try:
                found = await js.get_last_msg(SCHEDULES, f"due.main.s-{clip.clip}")
            except NotFoundError:
                return None
            return Due.model_validate_json(found.data or b"")

        assert ClipRefine.model_validate((await until(due)).body) == clip
        assert (await js.stream_info(SCHEDULES)).state.messages == 1, "nothing but the due message is left"


async def test_what_runs_beside_may_publish_to_its_end(nats: NatsServer, tmp_path: Path) -> None:
    """Handlers end first, then what runs beside them, and the connection last."""
    service = make_service("clipper", settings_for(nats, tmp_path))
    order: list[str] = []
    begun = asyncio.Event()

    @asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        yield
        order.append("beside")
        await service.outbox.emit(command())

    async def handle(message: ClipRefine) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        order.append("handled")

    service.beside(beside)
    service.handle(LANE, handle)
    async with connected(nats.url) as js:
        async with running(service):
            _, sequence = await refine(js)
            await asyncio.wait_for(begun.wait(), 20)
        assert order == ["handled", "beside"]
        assert await is_done(js, LANE, sequence)
        await js.purge_stream(commands_of("clipper"))


async def test_sigterm_drains_the_running_handler(nats: NatsServer, tmp_path: Path) -> None:
    port = free_port()
    settings = settings_for(nats, tmp_path)
    health = {"REELAY_HEALTH_PORT": str(port)}
    async with connected(nats.url) as js, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as probe:
        with child(
            settings, tmp_path / "log", "tests.support.shared_child", "slow", str(tmp_path), **health
        ) as process:
            clip, sequence = await refine(js)
            await until(lambda: asyncio.sleep(0, noted(tmp_path, f"begun {clip}")))
            assert (await probe.get("/readyz")).status_code in {200, 503}  # clipper's other consumers are there
            assert (await probe.get("/healthz")).status_code == 200
            assert (await probe.get("/other")).status_code == 404
            process.send_signal(signal.SIGTERM)
            await until(lambda: unready(probe))
            assert process.poll() is None, "the handler is waited for"
            (tmp_path / "go").touch()
            assert await asyncio.to_thread(process.wait, 30) == 0
        assert noted(tmp_path, f"done {clip}")
        assert await idle(js, LANE, sequence)


def noted(folder: Path, line: str) -> bool:
    notes = folder / "notes"
    return notes.exists() and line in notes.read_text().splitlines()


async def unready(probe: httpx.AsyncClient) -> bool:
    return (await probe.get("/readyz")).status_code == 503


async def test_sigterm_ends_a_service_that_waits_for_its_broker(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        settings = settings_for(server, tmp_path)
        for state in ("not provisioned", "away"):
            log = tmp_path / state
            with child(settings, log, "tests.support.shared_child", "plain", str(tmp_path)) as process:
                await asyncio.to_thread(started, process, log, state)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0, log.read_text()
            server.kill()


def started(process: object, log: Path, state: str) -> None:
    """Wait until the service has begun to wait: it says so, or its signal handlers are set."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if state == "not provisioned" and b"service.waiting" in log.read_bytes():
            return
        caught = next(
            line.split()[1]
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()  # type: ignore[attr-defined]
            if line.startswith("SigCgt")
        )
        if state == "away" and int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.05)
    raise TimeoutError(log.read_text())
