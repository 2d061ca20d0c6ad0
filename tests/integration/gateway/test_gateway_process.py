"""The gateway as its own process: start, kill, restart, stop; and every message told twice."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.broker.subjects import channel_of, subject_of
from shared.messages.base import Message
from shared.messages.live import LiveFinish, SessionEnded, SessionStarted
from shared.runtime.settings import Settings
from tests.support.api_gateway import connected, gateway, until
from tests.support.nats import NatsServer
from tests.support.shared_bus import in_queue


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass
class Running:
    folder: Path
    url: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            "REELAY_DATA_DIR": str(self.folder),
            "REELAY_NATS_URL": self.url,
            "REELAY_HTTP_PORT": str(self.port),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"],
            env=environment,
            stdout=(self.folder / "out").open("ab"),
            stderr=subprocess.STDOUT,
        )

    def client(self) -> httpx.AsyncClient:
        key = (self.folder / "admin.key").read_text().strip()
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers={"X-API-KEY": key}, timeout=10)

    async def ready(self) -> None:
        async def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "out").read_text()
            with contextlib.suppress(httpx.TransportError):
                async with httpx.AsyncClient() as client:
                    return (await client.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200
            return False

        await until(answers, 60)

    def end(self, how: int) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(30)
        self.process = None
        return code


@pytest.fixture
def running(nats: NatsServer, tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path, nats.url, free_port())
    made.start()
    yield made
    if made.process is not None:
        made.end(signal.SIGKILL)


async def test_nothing_acknowledged_is_lost_by_a_kill_and_a_stop_is_clean(running: Running) -> None:
    await running.ready()
    async with running.client() as client:
        job = (await client.post("/v1/jobs", json={"name": "kept"})).json()
    running.end(signal.SIGKILL)
    async with connected("ingester", Settings(data_dir=running.folder, nats_url=running.url)) as ingester:
        await ingester.outbox.emit(
            SessionStarted(
                account="main", event=job["id"], session=uuid.uuid4().hex, protocol="srt", at_ms=1, origin_ms=0
            )
        )
    running.start()
    await running.ready()
    async with running.client() as client:

        async def processing() -> bool:
            return bool((await client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "processing")

        await until(processing, 60)
        shown = (await client.get(f"/v1/jobs/{job['id']}")).json()
        assert shown["stream_name"] == job["stream_name"]
    assert running.end(signal.SIGTERM) == 0
    log = (running.folder / "out").read_text()
    assert job["stream_name"] not in log
    assert log.count("Admin API key: ") == 1


async def test_every_message_told_twice_is_as_told_once(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path) as api:
        job = (await api.job())["id"]
        session = uuid.uuid4().hex
        common = {"account": "main", "event": job, "session": session}
        now = api.clock.now_ms()

        async def twice(message: Message) -> None:
            for _ in range(2):  # without an id, so that the broker does not drop the second
                body = message.model_dump_json().encode()
                await api.js().publish(subject_of(message), body, stream=channel_of(message).stream)

        await twice(SessionStarted(**common, protocol="rtmp", at_ms=now, origin_ms=0))
        await api.until_state(job, "processing")
        await twice(SessionEnded(**common, at_ms=now + 1, reason="silent", segments=1, bytes=1))
        await api.until_state(job, "disconnected")
        await twice(LiveFinish(**common, reason="reconnect_time", at_ms=now + 2))
        await api.until_state(job, "finished")

        async def handled() -> bool:
            consumers = [
                await api.js().consumer_info(stream, durable)
                for stream, durable in (
                    (channel_of(SessionStarted).stream, "gateway-started"),
                    (channel_of(SessionEnded).stream, "gateway-ended"),
                )
            ]
            done = all(c.num_pending == 0 and c.num_ack_pending == 0 for c in consumers)
            return done and not await in_queue(api.js(), "gateway-finish")

        await until(handled)
        done = (await api.http.get(f"/v1/jobs/{job}")).json()
        assert [e["state"] for e in done["state_history"]] == ["standby", "processing", "disconnected", "finished"]
        record = await api.parts.jobs.get("main", job)
        assert record.announced == record.revision == 3
