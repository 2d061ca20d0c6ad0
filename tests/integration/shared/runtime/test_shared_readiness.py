"""Readiness tells the truth about the broker: frozen, without a stream, and asked often."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from shared.broker.permissions import SERVICES
from shared.broker.provision import provision
from shared.broker.streams import DEADLETTERS, commands_of
from shared.errors import Unavailable
from shared.messages.live import LiveFinish
from shared.runtime.clock import BrokerClock, SystemClock
from shared.runtime.service import make_service, readiness
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import connected, until
from tests.support.shared_bus import free_port, new_id, running, settings_for
from tests.support.waiting import freeze


class SetClock(SystemClock):
    """A clock whose monotonic time stands until it is moved."""

    ns = 10**12

    def monotonic_ns(self) -> int:
        return self.ns


@pytest.mark.parametrize("name", ["ingester", "gateway"])
async def test_a_frozen_broker_is_told_of_before_anybody_stops_asking(tmp_path: Path, name: str) -> None:
    clock = SetClock()
    with nats_server(tmp_path / "nats") as server:
        async with running(make_service(name, settings_for(server, tmp_path), clock)) as service:
            assert await readiness(service) == {}
            assert server.process is not None

            async def ready() -> bool:
                return await readiness(service) == {}

            freeze(server.process.pid)
            try:
                clock.ns += 10**10  # the last good answer is old
                request = asyncio.create_task(service.js().account_info())
                several = await asyncio.gather(*(readiness(service) for _ in range(5)))
                assert not request.done(), "readiness answers before an ordinary request gives up"
                assert all(set(faults) == {"broker"} for faults in several)
                request.cancel()
            finally:
                os.kill(server.process.pid, signal.SIGCONT)
            await until(ready)


class HourBehind(SystemClock):
    """A machine whose wall clock is an hour behind."""

    def now_ms(self) -> int:
        return super().now_ms() - 3_600_000


@pytest.mark.parametrize("name", SERVICES)
async def test_a_clock_that_is_off_is_corrected_before_work_begins_and_shown(
    nats: NatsServer, tmp_path: Path, name: str
) -> None:
    at_start: list[int] = []
    clock = BrokerClock(HourBehind())

    @contextlib.asynccontextmanager
    async def dating() -> AsyncIterator[None]:
        at_start.append(clock.now_ms() - SystemClock().now_ms())
        yield

    port = free_port()
    service = make_service(name, settings_for(nats, tmp_path, health_port=port), clock)
    service.beside(dating)
    async with running(service), httpx.AsyncClient() as client:
        assert abs(at_start[0]) <= 1000
        answer = await client.get(f"http://127.0.0.1:{port}/readyz")
        assert answer.status_code == 200
        assert answer.json()["status"] == "warn"
        assert "behind the broker" in answer.json()["clock"]


async def test_a_message_that_was_not_taken_keeps_a_service_from_being_ready(nats: NatsServer, tmp_path: Path) -> None:
    clock = SetClock()
    order = LiveFinish(account="main", event=new_id(), reason="event_length", at_ms=0)
    service = make_service("scheduler", settings_for(nats, tmp_path), clock)
    async with connected(nats.url) as js, running(service):
        await js.delete_stream(commands_of("gateway"))
        with pytest.raises(Unavailable):
            await service.outbox.emit(order)
        assert await readiness(service) == {"broker": "did not take live.finish"}
        clock.ns += 16 * 10**9
        assert await readiness(service) == {}, "nobody knows any more"
        with pytest.raises(Unavailable):
            await service.outbox.emit(order)
        assert await readiness(service)
        await provision(js)
        await service.outbox.emit(order)
        assert await readiness(service) == {}


async def test_readiness_writes_once_in_three_seconds(nats: NatsServer, tmp_path: Path) -> None:
    clock = SetClock()
    async with connected(nats.url) as js:

        async def written() -> int:
            return (await js.stream_info(DEADLETTERS)).state.last_seq

        async with running(make_service("ingester", settings_for(nats, tmp_path), clock)) as service:
            before = await written()
            for _ in range(3):
                await asyncio.gather(*(readiness(service) for _ in range(10)))
            assert await written() == before, "the start has asked a moment ago"
            clock.ns += 3 * 10**9
            await asyncio.gather(*(readiness(service) for _ in range(10)))
            assert await written() == before + 1
        info = await js.stream_info(DEADLETTERS, subjects_filter="failures.ingester-readiness.>")
        assert info.state.subjects == {"failures.ingester-readiness.0": 1}
