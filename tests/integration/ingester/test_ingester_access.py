"""Who may publish, asked at a real broker from a server's thread."""

import asyncio
import secrets

import pytest
import structlog

from services.ingester.access import UNKNOWN, Access
from services.ingester.refusals import PublishRefused
from shared.broker.kv import Bucket, Stored
from shared.broker.mirror import Mirror
from shared.messages.jobs import JobRecord
from shared.messages.keys import IngestKey
from shared.runtime.clock import SystemClock
from shared.security.secrets import Vault, hash_token
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import new_id

HERE = "192.0.2.1"


class Standing(SystemClock):
    """A clock that stands still, so that nothing is regained."""

    def monotonic_ns(self) -> int:
        return 0


async def test_a_record_that_cannot_be_read_lets_nobody_in_and_breaks_nothing(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        vault, event, damaged, keyless = Vault(b"test"), new_id(), new_id(), new_id()
        jobs, keys = Bucket(lambda: js, "events", JobRecord), Bucket(lambda: js, "keys", IngestKey)
        access = Access(
            Mirror(lambda: js, "events", JobRecord), Mirror(lambda: js, "keys", IngestKey), jobs, keys, vault,
            SystemClock(),
        )  # fmt: skip
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
                    await asyncio.to_thread(access.by_stream_key, stream_key, HERE)
            with pytest.raises(PublishRefused):
                await asyncio.to_thread(access.by_event, damaged, HERE)
        assert [line["event"] for line in logged].count("access.record.unreadable") == 2
        found = await asyncio.to_thread(access.by_stream_key, named[event], HERE)
        assert (found.event, found.passphrase) == (event, "y")


async def test_wrong_keys_get_slow_and_right_ones_at_the_same_address_do_not(nats: NatsServer) -> None:
    """What is in memory is answered from it; what is not costs its network one of a number of questions."""
    async with connected(nats.url) as js:
        vault, event, stream_key = Vault(b"test"), new_id(), secrets.token_hex(16)
        asked: list[str] = []

        class Asked(Bucket[IngestKey]):
            async def get(self, key: str) -> Stored[IngestKey] | None:
                asked.append(key)
                return await super().get(key)

        jobs, keys = Bucket(lambda: js, "events", JobRecord), Asked(lambda: js, "keys", IngestKey)

        def changed(key: str, job: JobRecord | None) -> None:
            access.job_changed(key, job)

        mirror = Mirror(lambda: js, "events", JobRecord, changed=changed)
        key_mirror = Mirror(lambda: js, "keys", IngestKey, pattern="ingest.>")
        access = Access(mirror, key_mirror, jobs, keys, vault, Standing())
        access.attach(asyncio.get_running_loop())
        job = JobRecord(
            account="main", event=event, state="standby", created_ms=0, changed_ms=0,
            stream_key=vault.encrypt(stream_key, "stream-key"), passphrase=vault.encrypt("y", "passphrase"),
        )  # fmt: skip
        await jobs.create(f"main.{event}", job)
        await keys.create(f"ingest.{hash_token(stream_key)}", IngestKey(account="main", event=event))

        async def why(key: str, address: str = HERE) -> str:
            with pytest.raises(PublishRefused) as refused:
                await asyncio.to_thread(access.by_stream_key, key, address)
            return refused.value.why

        async with mirror.running(), key_mirror.running():
            await mirror.wait_current()
            await key_mirror.wait_current()
            assert [await why(new_id()) for _ in range(UNKNOWN + 10)] == ["unknown"] * UNKNOWN + ["later"] * 10
            assert len(asked) == UNKNOWN
            assert (await asyncio.to_thread(access.by_stream_key, stream_key, HERE)).event == event
            assert access.knows(event)
            assert (await asyncio.to_thread(access.by_event, event, HERE)).event == event
            assert await why(new_id(), "192.0.2.2") == "unknown"
            await jobs.delete(f"main.{event}")
            await until(lambda: asyncio.sleep(0, not access.knows(event)))
