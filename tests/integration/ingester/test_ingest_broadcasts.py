"""A real ingester and the tokens of entries: known and unknown, renewed, and guessed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from services.ingester.access import GUESSES
from shared.broker.kv import Bucket
from shared.messages.keys import BROADCAST_PURPOSE, IngestKey, broadcast_key
from shared.security.secrets import Vault, hash_token
from shared.srt.caller import CallOptions
from shared.srt.constants import Reject
from shared.srt.errors import SrtRefused
from tests.support.ingest_desk import another, ingesting
from tests.support.media_streams import encode
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.rtmp_client import RtmpClient
from tests.support.sessions_desk import ACCOUNT, Desk
from tests.support.shared_bus import SECRET
from tests.support.srt_caller import SrtCaller

START, DENIED, FAILED = "NetStream.Publish.Start", "NetStream.Publish.Denied", "NetStream.Failed"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("entries") / "source.flv", seconds=2, gop=30)


async def entry(at: Desk, name: str, token: str) -> None:
    """Give the desk's job an entry, or the entry another token."""
    at.keys.add(token)
    sealed = Vault(SECRET.encode()).encrypt(token, BROADCAST_PURPOSE)
    key = IngestKey(account=ACCOUNT, event=at.event, owner="102", token=sealed)
    await Bucket(lambda: at.js, "keys", IngestKey).change(f"ingest.{hash_token(broadcast_key(name))}", lambda _: key)


async def told(at: Desk, name: str, token: str, owner: str = "102") -> str:
    app = f"kLive/?p={owner}&e={name}&i=0&t={token}"

    def ask() -> str:
        with RtmpClient(at.rtmp) as client:
            return str(client.ask(f"{name}_1", app, f"rtmp://127.0.0.1/{app}")["code"])

    return await asyncio.to_thread(ask)


def refusal(port: int, streamid: str) -> int:
    """Call without a passphrase; return the reason of the refusal, 0 when there was none."""
    options = CallOptions(streamid=streamid, connect_timeout=timedelta(seconds=20))
    try:
        with SrtCaller("127.0.0.1", port, options):
            return 0
    except SrtRefused as refused:
        return refused.reason


async def test_an_entry_is_published_to_by_its_token_alone(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    async with ingesting(nats, tmp_path, source) as (at, srt):
        await another(at)
        await entry(at, "0_aaaaaaaa", "11aa22bb")
        assert await told(at, "0_aaaaaaaa", "11aa22bb") == START
        assert await told(at, "0_bbbbbbbb", "11aa22bb") == DENIED
        assert await told(at, "0_aaaaaaaa", "11aa22bb", owner="103") == DENIED
        assert await told(at, "0_aaaaaaaa", "11aa22bc") == DENIED
        await another(at)
        await entry(at, "0_cccccccc", "33cc44dd")
        right, wrong = (f"#:::e=0_cccccccc,st=0,p={token}" for token in ("33cc44dd", "33cc44de"))
        assert await asyncio.to_thread(refusal, srt, wrong) == Reject.FORBIDDEN
        assert await asyncio.to_thread(refusal, srt, right) == 0
        await another(at)
        await entry(at, "0_dddddddd", "55dd66ee")
        assert await told(at, "0_dddddddd", "55dd66ee") == START
        await entry(at, "0_dddddddd", "66ee77ff")

        async def renewed() -> bool:
            return await told(at, "0_dddddddd", "55dd66ee") == DENIED

        await until(renewed)
        assert await told(at, "0_dddddddd", "66ee77ff") == START


async def test_guesses_get_slow_and_another_entry_does_not(nats: NatsServer, tmp_path: Path, source: Path) -> None:
    async with ingesting(nats, tmp_path, source) as (at, _):
        await another(at)
        await entry(at, "0_eeeeeeee", "77ee88ff")
        answers = [await told(at, "0_eeeeeeee", f"{guess:08x}") for guess in range(GUESSES + 5)]
        assert answers[:GUESSES] == [DENIED] * GUESSES
        assert FAILED in answers[GUESSES:]
        await another(at)
        await entry(at, "0_ffffffff", "99ff00aa")
        assert await told(at, "0_ffffffff", "99ff00aa") == START
