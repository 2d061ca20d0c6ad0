"""Who may publish, asked at a real broker from a server's thread."""

import asyncio
import secrets

import pytest
import structlog

from services.ingester.access import Access
from services.ingester.refusals import PublishRefused
from shared.kv import Bucket
from shared.messages.jobs import IngestKey, JobRecord
from shared.mirror import Mirror
from shared.secrets import Vault, hash_token
from tests.support.nats import NatsServer
from tests.support.recordings import connected
from tests.support.shared_bus import new_id


async def test_a_record_that_cannot_be_read_lets_nobody_in_and_breaks_nothing(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        vault, event, damaged, keyless = Vault(b"test"), new_id(), new_id(), new_id()
        jobs, keys = Bucket(lambda: js, "events", JobRecord), Bucket(lambda: js, "keys", IngestKey)
        access = Access(
            Mirror(lambda: js, "events", JobRecord), Mirror(lambda: js, "keys", IngestKey), jobs, keys, vault
        )
        access.attach(asyncio.get_running_loop())
        good = JobRecord(
            account="main", event=event, state="standby", created_ms=0, changed_ms=0,
            stream_key=vault.encrypt("x", "stream-key"), passphrase=vault.encrypt("y", "passphrase"),
        )  # fmt: skip
        await jobs.create(f"main.{event}", good)
        raw = await js.key_value("events")
        await raw.put(f"main.{damaged}", b'{"account": "main"')
        named = {job: secrets.token_hex(16) for job in (event, damaged)}
        for job, stream_key in named.items():
            await keys.create(f"ingest.{hash_token(stream_key)}", IngestKey(account="main", event=job))
        await (await js.key_value("keys")).put(f"ingest.{hash_token(keyless)}", b"[]")
        with structlog.testing.capture_logs() as logged:
            for stream_key in (named[damaged], keyless):
                with pytest.raises(PublishRefused):
                    await asyncio.to_thread(access.by_stream_key, stream_key)
            with pytest.raises(PublishRefused):
                await asyncio.to_thread(access.by_event, damaged)
        assert [line["event"] for line in logged].count("access.record.unreadable") == 2
        found = await asyncio.to_thread(access.by_stream_key, named[event])
        assert (found.event, found.passphrase) == (event, "y")
