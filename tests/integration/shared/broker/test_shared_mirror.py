"""A mirror follows its bucket over a kill -9 of the broker."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from shared.broker.kv import Bucket
from shared.broker.mirror import Mirror
from shared.messages.keys import IngestKey
from shared.runtime.service import make_service
from shared.runtime.settings import Settings
from tests.support.nats import nats_server
from tests.support.recordings import connected

EVENT = "0" * 32


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.02)


async def test_a_key_that_went_while_the_broker_was_away_is_gone_from_the_mirror(tmp_path: Path) -> None:
    """Its marker went, too, as markers do after their time: nothing tells of it but that it is not there."""
    with nats_server(tmp_path / "nats") as server:
        service = make_service("gateway", Settings(data_dir=tmp_path, nats_url=server.url))
        await service.broker.connect()
        bucket = Bucket(service.js, "keys", IngestKey)
        for name in ("ingest.kept", "ingest.revoked"):
            await bucket.create(name, IngestKey(account="main", event=EVENT))
        changes: list[tuple[str, bool]] = []
        mirror = Mirror(service.js, "keys", IngestKey, changed=lambda k, v: changes.append((k, v is not None)))
        async with mirror.running():
            await asyncio.wait_for(mirror.wait_current(), 10)
            port = server.port
            server.kill()
            server.port = -1  # where the mirror does not find it
            server.start()
            async with connected(server.url) as js:
                assert await js.purge_stream("KV_keys", subject="$KV.keys.ingest.revoked")
            server.kill()
            assert mirror.get("ingest.revoked") is not None
            server.port = port
            server.start()
            await until(lambda: set(mirror.values()) == {"ingest.kept"})
        assert changes[-1] == ("ingest.revoked", False)
        await service.broker.stop()


async def test_mirror_follows_and_survives_the_broker(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        service = make_service("gateway", Settings(data_dir=tmp_path, nats_url=server.url))
        await service.broker.connect()
        bucket = Bucket(service.js, "keys", IngestKey)
        await bucket.create("ingest.a", IngestKey(account="main", event=EVENT))
        changes: list[tuple[str, bool]] = []
        mirror = Mirror(
            service.js, "keys", IngestKey, pattern="ingest.>", changed=lambda k, v: changes.append((k, v is not None))
        )
        async with mirror.running():
            await asyncio.wait_for(mirror.wait_current(), 10)
            assert mirror.get("ingest.a") == IngestKey(account="main", event=EVENT)
            await bucket.create("ingest.b", IngestKey(account="main", event=EVENT))
            await bucket.delete("ingest.a")
            await until(lambda: set(mirror.values()) == {"ingest.b"})
            server.kill()
            assert mirror.get("ingest.b") is not None, "readable while the broker is away"
            server.start()
            await until(lambda: service.js()._nc.stats["reconnects"] == 1)
            await bucket.create("ingest.c", IngestKey(account="main", event=EVENT))
            await until(lambda: set(mirror.values()) == {"ingest.b", "ingest.c"})
        assert changes == [("ingest.a", True), ("ingest.b", True), ("ingest.a", False), ("ingest.c", True)]
        await service.broker.stop()
