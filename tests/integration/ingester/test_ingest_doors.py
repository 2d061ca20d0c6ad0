"""A real ingester: keys in every form, and what encoders are told when they are not let in."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from services.ingester.leases import Lease
from shared.broker.kv import Bucket
from shared.srt.caller import CallOptions
from shared.srt.constants import Reject
from shared.srt.errors import SrtRefused
from tests.support.ingest_desk import another, ingesting
from tests.support.media_streams import FFMPEG, encode
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import until
from tests.support.rtmp_client import RtmpClient
from tests.support.sessions_desk import Desk
from tests.support.shared_bus import new_id
from tests.support.srt_caller import SrtCaller

DENIED, BAD_NAME = "NetStream.Publish.Denied", "NetStream.Publish.BadName"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("doors") / "source.flv", seconds=40, gop=30)


def ask(at: Desk, app: str, name: str) -> dict[str, object]:
    with RtmpClient(at.rtmp) as client:
        return client.ask(name.replace("KEY", at.key), app.replace("KEY", at.key), "rtmp://127.0.0.1/live")


def refusal(port: int, streamid: str, passphrase: str) -> int:
    """Call; give the reason of the refusal, 0 when there was none."""
    options = CallOptions(streamid=streamid, passphrase=passphrase, connect_timeout=timedelta(seconds=20))
    try:
        with SrtCaller("127.0.0.1", port, options):
            return 0
    except SrtRefused as refused:
        return refused.reason


async def test_keys_in_many_forms_find_their_job(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    forms = [("live", "KEY"), ("live", " KEY\n"), ("live", "live/KEY"), ("live", "mp4:KEY.mp4"), ("live/KEY", ""),
             ("live", "?key=KEY"), ("live", "rtmp://127.0.0.1/live/KEY"), ("KEY", "")]  # fmt: skip
    async with ingesting(nats, tmp_path, source) as (at, srt):
        for app, name in forms:
            await another(at)
            info = await asyncio.to_thread(ask, at, app, name)
            assert info["code"] == "NetStream.Publish.Start", (app, name, info)
        for form in ("ID", " live/ID ", "publish:ID", "#!::r=live/ID,m=publish", "#!::m=publish,u=ID", "publish/ID"):
            await another(at)
            assert await asyncio.to_thread(refusal, srt, form.replace("ID", at.event.upper()), at.key) == 0, form


async def test_ffmpeg_publishes_with_the_key_in_another_form(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    forms = ["live/KEY", "live/?key=KEY", "live/live/KEY", "live/%20KEY%20", "KEY", "live/KEY/", "live/KEY.flv",
             "live/KEY.mp4", "live/KEY?arg=1", "live/inst/KEY", "live?key=KEY", "live/mp4:KEY"]  # fmt: skip
    async with ingesting(nats, tmp_path, source) as (at, _):
        for form in forms:
            await another(at)
            url = f"rtmp://127.0.0.1:{at.rtmp}/{form.replace('KEY', at.key)}"
            command = [FFMPEG, "-v", "error", "-t", "3", "-i", str(source), "-c", "copy", "-f", "flv", url]
            result = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
            assert result.returncode == 0, (form, result.stderr)
            [session] = await until(at.ended)
            assert session.segments > 0


async def test_each_refusal_says_what_it_is(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    async with ingesting(nats, tmp_path, source) as (at, srt):
        for state, code, words, reason in [
            ("finished", DENIED, "finished", Reject.FORBIDDEN),
            ("cancelled", DENIED, "cancelled", Reject.FORBIDDEN),
            ("finishing", DENIED, "being stopped", Reject.FORBIDDEN),
        ]:
            await another(at, state)  # type: ignore[arg-type]
            info = await asyncio.to_thread(ask, at, "live", "KEY")
            assert (info["code"], words in str(info["description"])) == (code, True), info
            assert await asyncio.to_thread(refusal, srt, at.event, at.key) == reason
        for name, words in [
            (new_id(), "no job has this stream key"), ("KEY/" + new_id(), "two different"), ("", "no stream key"),
            (at.key[:-1], "31 digits"),
        ]:  # fmt: skip
            info = await asyncio.to_thread(ask, at, "live", name)
            assert (info["code"], words in str(info["description"])) == (DENIED, True), info
            assert at.key[:-1] not in str(info)
        assert await asyncio.to_thread(refusal, srt, new_id(), at.key) == Reject.NOT_FOUND
        assert await asyncio.to_thread(refusal, srt, f"{new_id()}/{new_id()}", at.key) == Reject.BAD_REQUEST
        await another(at)
        lease = Lease(session=new_id(), instance="elsewhere", host="another-host", pid=1)
        await Bucket(lambda: at.js, "leases", Lease).create(f"main.{at.event}", lease)
        info = await asyncio.to_thread(ask, at, "live", "KEY")
        assert info["code"] == BAD_NAME, "another instance has it"
        await another(at)
        process = at.encoder()
        try:
            await until(at.segments, 60)
            info = await asyncio.to_thread(ask, at, "live", "KEY")
            assert info["code"] == BAD_NAME
            assert await asyncio.to_thread(refusal, srt, at.event, at.key) == Reject.CONFLICT
            said = await asyncio.to_thread(second_encoder, at)
            assert "Server error: Publishing was refused: another publisher is at this job." in said
        finally:
            process.kill()
            process.wait(10)


def second_encoder(at: Desk) -> str:
    """Publish with ffmpeg beside the first encoder; give what it prints."""
    url = f"rtmp://127.0.0.1:{at.rtmp}/live/{at.key}"
    command = [FFMPEG, "-v", "error", "-i", str(at.source), "-c", "copy", "-f", "flv", url]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    assert result.returncode != 0
    return result.stderr


async def test_while_the_broker_is_away_a_known_key_is_let_in_and_another_is_not_called_wrong(
    tmp_path: Path, source: Path
) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with ingesting(server, tmp_path, source) as (at, srt):
            await another(at)
            info = await asyncio.to_thread(ask, at, "live", "KEY")  # from now on it is known
            assert info["code"] == "NetStream.Publish.Start"
            server.kill()
            info = await asyncio.to_thread(ask, at, "live", new_id())
            assert (info["code"], "try again" in str(info["description"])) == ("NetStream.Failed", True)
            assert await asyncio.to_thread(refusal, srt, new_id(), at.key) == Reject.DOWN

            async def let_in() -> bool:
                return (await asyncio.to_thread(ask, at, "live", "KEY"))["code"] == "NetStream.Publish.Start"

            await until(let_in, 60)
            server.start()
