"""The nine services at a broker with compose's configuration, each as its own user: all works, no more is let."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError

from services.cli.demo_cast import Receiver, receiver
from services.gateway.domain.restreams.parts import restream_id
from services.gateway.identity.cdn_accounts import signature
from shared.broker.permissions import SERVICES, USERS, password_variable
from shared.broker.provision import USER
from shared.broker.streams import commands_of
from shared.broker.subjects import inbox_prefix
from shared.messages.clips import ClipCreate
from tests.support.shared_bus import free_port
from tests.support.source_server import Server, source_server
from tests.support.stack import StackUnderTest, publisher, until

SERVER_CONF = Path(__file__).resolve().parents[2] / "compose/nats/server.conf"


@dataclass
class Guarded:
    """A broker with users, and its log."""

    folder: Path
    passwords: dict[str, str]
    port: int = 0

    def url(self, user: str) -> str:
        return f"nats://{user}:{self.passwords[user]}@127.0.0.1:{self.port}"

    def violations(self) -> list[str]:
        return [line for line in (self.folder / "log").read_text().splitlines() if "iolation" in line]


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[Guarded]:
    """Run nats-server with compose's configuration, but on other ports and in another folder."""
    folder.mkdir()
    made = Guarded(folder, {user: f"p{uuid.uuid4().hex}" for user in USERS})
    environment = os.environ | {password_variable(user): password for user, password in made.passwords.items()}
    command = [Path(sys.executable).with_name("nats-server"), "-c", SERVER_CONF, "-a", "127.0.0.1", "-p", "-1",
               "-m", "-1", "-sd", folder / "js", "--ports_file_dir", folder, "-l", folder / "log"]  # fmt: skip
    with ended(subprocess.Popen(list(map(str, command)), env=environment)) as process:

        def listening() -> int:
            assert process.poll() is None
            for file in folder.glob("*.ports"):
                with contextlib.suppress(ValueError, KeyError):
                    return int(json.loads(file.read_text())["nats"][0].rsplit(":", 1)[1])
            return 0

        made.port = until(listening, "the broker")
        yield made


@contextlib.contextmanager
def served(broker: Guarded, folder: Path) -> Iterator[StackUnderTest]:
    """Provision, and run every service as its own user until all are ready."""
    http, health = free_port(), {name: free_port() for name in SERVICES}
    environment = os.environ | {
        "REELAY_DATA_DIR": str(folder), "REELAY_HTTP_PORT": str(http), "REELAY_RTMP_PORT": str(free_port()),
        "REELAY_SRT_PORT": "0", "REELAY_SECRET_KEY": "permissions", "REELAY_ALLOW_NETS": "127.0.0.0/8",
    }  # fmt: skip
    provision = environment | {"REELAY_NATS_URL": broker.url(USER)}
    subprocess.run([sys.executable, "-m", "shared.broker.provision"], env=provision, check=True, timeout=60)
    with contextlib.ExitStack() as stack:
        processes = {}
        for name in SERVICES:
            own = {"REELAY_NATS_URL": broker.url(name), "REELAY_HEALTH_PORT": str(health[name])}
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            command = [sys.executable, "-m", f"services.{name.replace('-', '_')}"]
            process = subprocess.Popen(command, env=environment | own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            processes[name] = stack.enter_context(ended(process))
        for name, process in processes.items():

            def ready(name: str = name, process: subprocess.Popen[bytes] = process) -> bool:
                assert process.poll() is None, (folder / f"{name}.log").read_text()
                return httpx.get(f"http://127.0.0.1:{health[name]}/readyz").status_code == 200

            until(ready, f"{name} to be ready")
        key = (folder / "admin.key").read_text().strip()
        api = httpx.Client(base_url=f"http://127.0.0.1:{http}", headers={"X-API-KEY": key}, timeout=30)
        yield StackUnderTest(folder, processes["gateway"], stack.enter_context(api))


@contextlib.asynccontextmanager
async def connected(broker: Guarded, user: str, errors: asyncio.Queue[str]) -> AsyncIterator[Client]:
    async def note(error: Exception) -> None:
        errors.put_nowait(str(error))

    connection = await nats.connect(
        broker.url(user), allow_reconnect=False, error_cb=note, inbox_prefix=inbox_prefix(user)
    )
    try:
        yield connection
    finally:
        await connection.close()


async def last_command(js: JetStreamContext) -> int:
    return int((await js.stream_info(commands_of("clipper"))).state.last_seq)


async def refusals(broker: Guarded) -> None:
    """Try what the notifier may not do."""
    errors: asyncio.Queue[str] = asyncio.Queue()
    async with connected(broker, USER, asyncio.Queue()) as provision, connected(broker, "notifier", errors) as notifier:
        js = provision.jetstream()
        before = await last_command(js)
        subject = f"{ClipCreate.channel}.main.{uuid.uuid4().hex}"
        await notifier.publish(subject, b"{}")
        await notifier.publish("$KV.keys.api.x", b"{}")
        await notifier.publish("$JS.API.STREAM.DELETE." + commands_of("clipper"), b"")
        await notifier.subscribe("_INBOX_gateway.>")
        await notifier.flush()
        refused = [await asyncio.wait_for(errors.get(), 20) for _ in range(4)]
        assert all("permissions violation" in error.lower() for error in refused), refused
        assert await last_command(js) == before
        with pytest.raises(KeyNotFoundError):
            await (await js.key_value("keys")).get("api.x")
    broker.passwords = broker.passwords | {"notifier": "wrong"}
    with pytest.raises(NatsError):
        async with connected(broker, "notifier", asyncio.Queue()):
            pass


def a_restream(live: StackUnderTest, hooks: Receiver, empty: Server, clip: str, job: str) -> None:
    """Play a clip, a live job, a bucket that is not there and a recording into another job, by clock and call."""
    to = live.job()
    keys = {"endpoint": empty.url(""), "access_key": "a", "secret_key": "b"}
    assert live.api.put("/v1/credentials/none", json=keys).is_success
    key = live.post("/v1/cdn-accounts", {"account": "league"})["key"]
    about = {"id": "x", "forward": [{"url": f"{to['stream_url']}/{to['stream_name']}"}]}

    def call(cmd: str, **task: object) -> None:
        query = {"n": "league", "r": cmd, "k": signature(cmd, key)}
        body = {"cmd": cmd, "type": "video", "transcallbackurl": hooks.url, "list": [about | task]}
        answer = live.api.post("/api/cdn/v2/forwardRequest.action", params=query, json=body)
        assert answer.status_code == 200, answer.text

    now = int(time.time() * 1000)
    call("1", src=[{"url": f"reelay:clip/{clip}"}], start=now + 2000, end=now + 600_000)
    path = f"/v1/restreams/{restream_id('main', 'x')}"
    until(lambda: live.state(to["id"]) == "processing", "the clip to be played out")
    call("3", src=[{"url": f"reelay:recording/{job}"}], extendParam={"liveEvent": job})
    until(lambda: (live.get(path)["position"] or {}).get("live"), "the live job to be played out")
    unknown = {"url": "s3://bucket/a.mp4", "credentials": "none"}
    update = {"sources": [unknown, {"url": f"reelay:recording/{job}"}]}
    assert live.api.put(f"{path}/sources", json=update).status_code == 202
    assert live.api.put(f"/v1/jobs/{job}/stop").status_code == 200
    until(lambda: "recording" in live.get(path)["position"]["file"], "the recording to be played out")
    call("2")
    until(lambda: live.get(path)["state"] == "stopped", "the restream to be stopped")
    assert hooks.wait("restreams.state_changed", timedelta(seconds=20), "stopped")
    assert hooks.wait("restreams.warned", timedelta(seconds=20))
    assert live.api.put(f"/v1/jobs/{to['id']}/stop").status_code == 200


def test_every_service_works_as_its_own_user_and_does_nothing_else(programme: Path, tmp_path: Path) -> None:
    with guarded(tmp_path / "broker") as broker, served(broker, tmp_path) as live, receiver() as hooks:
        hooks.secret = live.post("/v1/webhooks", {"url": hooks.url, "events": ["clips.*", "restreams.*"]})["secret"]
        job = live.job()
        with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
            until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
            clip = live.clip(job["id"], stream_start_time=2, stream_end_time=6, wait=True)
            late = live.clip(job["id"], stream_start_time=4, duration=3600, wait=True)
            live.finished(clip)
            assert live.api.put(f"/v1/vods/{late}/cancel").status_code == 202
            assert live.api.get(job["playback_url"]).status_code == 200
            assert hooks.wait("clips.frame_accurate.ready", timedelta(seconds=20))
            assert live.get("/v1/webhooks/deliveries")["deliveries"]
            with source_server() as empty:
                a_restream(live, hooks, empty, clip, job["id"])
            until(lambda: live.state(job["id"]) == "finished", "the job to end")
        until(lambda: live.get(f"/v1/vods/{late}")["jvod_state"] == "cancelled", "the clip to be cancelled")
        assert {vod["jvod_id"] for vod in live.get("/v1/vods")["vod_jobs"]} == {clip, late}
        tool = os.environ | {"REELAY_DATA_DIR": str(tmp_path), "REELAY_NATS_URL": broker.url("gateway")}
        subprocess.run([sys.executable, "-m", "services.cli", "keys", "list"], env=tool, check=True, timeout=60)
        assert broker.violations() == []
        asyncio.run(refusals(broker))
        assert len(broker.violations()) == 4
