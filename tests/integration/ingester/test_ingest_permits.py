"""The owner's HTTP server decides who publishes: RTMP and SRT, over time, and while it is slow, lying or away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url
from shared.srt.caller import CallOptions
from shared.srt.constants import Reject
from shared.srt.errors import SrtError, SrtRefused
from tests.support.media_streams import encode
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.rtmp_client import RtmpClient
from tests.support.sessions_desk import ACCOUNT, Desk, desk
from tests.support.shared_bus import SECRET, free_port, new_id
from tests.support.srt_caller import SrtCaller
from tests.support.webhook_receiver import Receiver, Reply, webhook_receiver

START, DENIED, FAILED = "NetStream.Publish.Start", "NetStream.Publish.Denied", "NetStream.Failed"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("permits") / "source.flv", seconds=30, gop=30)


@pytest.fixture(scope="module")
def transport(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return encode(tmp_path_factory.mktemp("permits") / "source.ts", seconds=4, gop=30).read_bytes()


@dataclass
class Gated:
    """An ingester, and the server that is asked about publishers."""

    at: Desk
    srt: int
    backend: Receiver

    async def job(self, url: str | None = None) -> Desk:
        """Return a desk for a new job whose publishers are asked about."""
        one = self.at.next()
        sealed = seal_url(Vault(SECRET.encode()), url or self.backend.url("/pub?site=1"))
        await one.job(on_publish=sealed, stream="tv/one")
        return one

    def asked(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(urlsplit(one.path).query)) for one in self.backend.requests]


@contextlib.asynccontextmanager
async def gated(nats: NatsServer, folder: Path, source: Path, **environment: str) -> AsyncIterator[Gated]:
    srt = free_port()
    given = {"REELAY_SRT_PORT": str(srt), "REELAY_ALLOW_NETS": "127.0.0.0/8"} | environment
    async with webhook_receiver() as backend, desk(nats, folder, source) as at:
        with at.ingester(folder / "log", **given):
            await until(lambda: asyncio.sleep(0, "srt.listening" in (folder / "log").read_text()), 60)
            yield Gated(at, srt, backend)
        log = (folder / "log").read_text()
        assert not any(key in log for key in at.keys)
        assert backend.url("/pub") not in log


async def rtmp(one: Desk, query: str = "") -> str:
    """Ask to publish; return the code of the answer."""

    def ask() -> str:
        with RtmpClient(one.rtmp) as client:
            return str(client.ask(f"{one.key}{query}", "live", "rtmp://127.0.0.1/live")["code"])

    return await asyncio.to_thread(ask)


async def srt(gate: Gated, one: Desk, data: bytes = b"") -> int:
    """Call, send, and wait until the listener hangs up; return the reason of a refusal, 0 without one.

    As encoders do, it calls again where a busy listener could not say in time who may come in.
    """

    def call() -> int:
        deadline = time.monotonic() + 20
        while (reason := once()) == Reject.DOWN and time.monotonic() < deadline:
            time.sleep(0.1)
        return reason

    def once() -> int:
        options = CallOptions(streamid=one.event, passphrase=one.key, connect_timeout=timedelta(seconds=20))
        try:
            with SrtCaller("127.0.0.1", gate.srt, options) as caller:
                with contextlib.suppress(SrtError):
                    caller.send(data)
                    caller.flush(timedelta(seconds=5))
                return 0
        except SrtRefused as refused:
            return int(refused.reason)

    return await asyncio.to_thread(call)


async def test_rtmp_publishers_are_asked_about(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    async with gated(nats, tmp_path, source) as gate:
        one = await gate.job()
        assert await rtmp(one, "?token=abc") == START
        (asked,) = gate.asked()
        assert len(asked.pop("session_id")) == 36
        assert asked == {
            "site": "1", "name": "tv/one", "proto": "rtmp", "ip": "127.0.0.1", "token": "abc", "mode": "publish",
            "request_type": "new_session", "request_number": "0", "duration": "0",
        }  # fmt: skip
        for reply, code in (  # fewer than three faults in a row: then it would be left alone for a moment
            (Reply(403), DENIED), (Reply(500), FAILED), (Reply(silent=True), FAILED), (Reply(404), DENIED),
            (Reply(302, {"Location": gate.backend.url("/yes")}), FAILED), (Reply(200, endless=True), START),
        ):  # fmt: skip
            another = await gate.job()
            gate.backend.default = reply
            assert await rtmp(another) == code, reply
        gate.backend.default = Reply(403, {"X-AuthDuration": "600"})
        one = await gate.job()
        before = len(gate.backend.requests)
        assert [await rtmp(one), await rtmp(one), await rtmp(one, "?token=other")] == [DENIED] * 3
        assert len(gate.backend.requests) == before + 2, "a no holds for the same publisher"
        wrong = await gate.job()
        wrong.key = new_id()
        assert await rtmp(wrong) == DENIED
        assert len(gate.backend.requests) == before + 2, "nobody is asked about a wrong key"
        inside = await gate.job("http://10.255.255.1/auth")
        assert await rtmp(inside) == FAILED  # no user's URL reaches such an address


async def test_a_slow_server_holds_up_its_own_publishers_alone(
    nats: NatsServer, tmp_path: Path, source: Path, transport: bytes
) -> None:
    async with gated(nats, tmp_path, source) as gate:
        gate.backend.default = Reply(200, wait=asyncio.Event())
        slow = [await gate.job() for _ in range(3)]
        waiting = [asyncio.create_task(rtmp(one)) for one in slow]
        waiting.append(asyncio.create_task(srt(gate, await gate.job(), transport)))
        await gate.backend.count(4)
        free = gate.at.next()
        await free.job()
        assert await rtmp(free) == START
        other = gate.at.next()
        await other.job()
        assert await srt(gate, other, transport) == 0
        await until(other.ended)
        assert not any(task.done() for task in waiting[:3])
        assert await asyncio.gather(*waiting[:3]) == [FAILED] * 3  # it has not answered in time
        await waiting[3]


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_job_that_ends_while_its_owner_is_asked_takes_no_publisher(
    nats: NatsServer, tmp_path: Path, source: Path, transport: bytes, deleted: bool
) -> None:
    answers = asyncio.Event()
    async with gated(nats, tmp_path, source) as gate:
        gate.backend.default = Reply(200, wait=answers)
        one, two = await gate.job(), await gate.job()
        waiting = asyncio.create_task(rtmp(one)), asyncio.create_task(srt(gate, two, transport))
        await gate.backend.count(2)
        jobs = Bucket(lambda: gate.at.js, "events", JobRecord)
        for job in (two, one):
            if deleted:
                await jobs.delete(f"{ACCOUNT}.{job.event}")
            else:
                await job.job("finished")

        async def known() -> bool:
            return await rtmp(one) == DENIED

        await until(known)
        answers.set()
        assert await waiting[0] == DENIED
        await waiting[1]
        await until(lambda: asyncio.sleep(0, "srt.publish.refused" in (tmp_path / "log").read_text()))
        assert not await one.sessions()
        assert not await two.sessions()


async def test_srt_publishers_are_asked_about_once_they_have_the_passphrase(
    nats: NatsServer, tmp_path: Path, source: Path, transport: bytes
) -> None:
    async with gated(nats, tmp_path, source) as gate:
        one = await gate.job()
        stranger = await gate.job()
        stranger.key = new_id()
        assert await srt(gate, stranger, transport) != 0
        assert not gate.backend.requests, "a wrong passphrase asks nobody"
        assert await srt(gate, one, transport) == 0
        (session,) = await until(one.ended)
        assert session.segments > 0
        assert [(asked["proto"], asked["name"]) for asked in gate.asked()] == [("srt", "tv/one")]
        gate.backend.default = Reply(403, {"X-AuthDuration": "600"})
        two = await gate.job()
        before = (tmp_path / "log").read_text().count("srt.publish.refused")
        await srt(gate, two, transport)
        await gate.backend.count(2)
        await until(lambda: asyncio.sleep(0, (tmp_path / "log").read_text().count("srt.publish.refused") > before))
        assert await srt(gate, two, transport) == Reject.FORBIDDEN, "the next call is refused in its handshake"
        assert len(gate.backend.requests) == 2
        assert not await two.sessions()


async def test_a_publisher_is_asked_about_again_and_ends_with_a_no(
    nats: NatsServer, tmp_path: Path, source: Path
) -> None:
    async with gated(nats, tmp_path, source) as gate:
        one = await gate.job()
        gate.backend.script = [Reply(200, {"X-AuthDuration": "1"}), Reply(200, {"X-AuthDuration": "1"}), Reply(403)]
        encoder = one.encoder()
        try:
            (session,) = await until(one.ended, 60)
        finally:
            encoder.kill()
            encoder.wait()
        assert session.segments > 0  # its recording stays
        asked = gate.asked()[:3]
        assert [(each["request_type"], each["request_number"]) for each in asked] == [
            ("new_session", "0"), ("update_session", "1"), ("update_session", "2"),
        ]  # fmt: skip
        assert len({each["session_id"] for each in asked}) == 1
        assert (await one.said())[-1] == "stopped"


async def test_a_publisher_goes_on_while_the_server_is_away(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    async with gated(nats, tmp_path, source) as gate:
        one = await gate.job()
        gate.backend.script = [Reply(200, {"X-AuthDuration": "1"}), Reply(silent=True)]
        encoder = one.encoder()
        try:
            await gate.backend.count(2)

            async def goes_on() -> bool:
                return len(await one.segments()) >= 3

            await until(goes_on, 60)
            assert encoder.poll() is None
            (session,) = await one.sessions()
            assert session.ended_ms is None
        finally:
            encoder.kill()
            encoder.wait()


async def test_the_operators_server_is_asked_about_all_jobs(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    async with webhook_receiver() as everyones:
        environment = {"REELAY_ON_PUBLISH": everyones.url("/all"), "REELAY_ALLOW_NETS": ""}
        async with gated(nats, tmp_path, source, **environment) as gate:
            one = gate.at.next()
            await one.job()
            assert await rtmp(one) == START
            assert f"name={one.event}" in everyones.requests[0].path
            everyones.default = Reply(403)
            two = gate.at.next()
            await two.job()
            assert await rtmp(two) == DENIED
