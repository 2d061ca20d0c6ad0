"""Buckets: compare-and-set, contention, patterns, values that cannot be read, and a broker that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from shared.broker.kv import Bucket, Conflict, Stored
from shared.broker.mirror import Mirror
from shared.errors import Unavailable
from shared.messages.keys import IngestKey
from shared.messages.sessions import EventClock
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import connected, until
from tests.support.shared_bus import new_id


@pytest.fixture
async def js(nats: NatsServer) -> AsyncIterator[JetStreamContext]:
    async with connected(nats.url) as context:
        yield context


def clocks(js: JetStreamContext) -> Bucket[EventClock]:
    return Bucket(lambda: js, "sessions", EventClock)


def at(ms: int) -> EventClock:
    return EventClock(first_frame_ms=ms)


async def test_writes_are_compare_and_set(js: JetStreamContext) -> None:
    bucket, key = clocks(js), new_id()
    assert await bucket.get(key) is None
    revision = await bucket.create(key, at(1))
    with pytest.raises(Conflict):
        await bucket.create(key, at(2))
    stored = await bucket.get(key)
    assert stored == Stored(key, at(1), revision)
    newer = await bucket.replace(stored, at(2))
    with pytest.raises(Conflict):
        await bucket.replace(stored, at(3))
    with pytest.raises(Conflict):
        await bucket.delete(key, revision)
    assert await bucket.get(key) == await bucket.get_settled(key) == newer
    await bucket.delete(key, newer.revision)
    assert await bucket.get(key) is await bucket.get_settled(key) is None
    newer = Stored(key, at(3), await bucket.create(key, at(3)))
    await bucket.delete(key)
    assert await bucket.get(key) is None
    with pytest.raises(Conflict):
        await bucket.replace(newer, at(4))
    assert await bucket.create(key, at(5)) > newer.revision


async def test_nobody_s_change_is_lost(js: JetStreamContext) -> None:
    bucket, key = clocks(js), new_id()
    await asyncio.gather(*(bucket.change(key, lambda old: at(old.first_frame_ms + 1 if old else 1)) for _ in range(40)))
    stored = await bucket.get(key)
    assert stored is not None
    assert stored.value == at(40)
    assert await bucket.change(key, lambda _: None) == at(40), "none leaves it as it is"
    assert await bucket.change(new_id(), lambda _: None) is None
    again = await bucket.get(key)
    assert again == stored


async def test_patterns(js: JetStreamContext) -> None:
    bucket = clocks(js)
    a, b, event, other = (new_id() for _ in range(4))
    keys = {f"{a}.{event}.1", f"{a}.{event}.2", f"{a}.{other}.1", f"{b}.{event}.1", f"{a}.{event}"}
    for key in (*keys, f"{a}.{event}.gone"):
        await bucket.create(key, at(1))
    await bucket.delete(f"{a}.{event}.gone")
    await bucket.change(f"{a}.{event}.1", lambda _: at(7))

    async def found(pattern: str) -> set[str]:
        return {stored.key for stored in await bucket.items(pattern)} & (keys | {f"{a}.{event}.gone"})

    assert await found("") == keys
    assert await found(a) == keys - {f"{b}.{event}.1"}
    assert await found(f"{a}.{event}") == {f"{a}.{event}.1", f"{a}.{event}.2"}
    assert await found("*.*.*") == keys - {f"{a}.{event}"}
    assert await found(f"*.{event}") == {f"{a}.{event}"}
    assert await bucket.items(new_id()) == []
    one = next(stored for stored in await bucket.items(f"{a}.{event}") if stored.key.endswith(".1"))
    assert one == await bucket.get(one.key), "with the revision to replace it at"


async def test_many_keys_while_they_change_and_nothing_is_left_behind(js: JetStreamContext) -> None:
    bucket, prefix = clocks(js), new_id()
    await asyncio.gather(*(bucket.create(f"{prefix}.{n}", at(n)) for n in range(600)))

    async def disturb() -> None:
        for n in range(0, 600, 11):
            await bucket.change(f"{prefix}.{n}", lambda _: at(1))
        for n in range(0, 600, 13):
            await bucket.delete(f"{prefix}.{n}")

    kept = {f"{prefix}.{n}" for n in range(600) if n % 13}
    disturbing = asyncio.create_task(disturb())
    while not disturbing.done():
        stored = await bucket.items(prefix)
        assert kept <= {s.key for s in stored}
        assert len({s.key for s in stored}) == len(stored)
    await disturbing
    assert {s.key for s in await bucket.items(prefix)} == kept
    assert (await js.stream_info("KV_sessions")).state.consumer_count == 0


async def test_a_value_that_cannot_be_read_hides_no_other(js: JetStreamContext) -> None:
    bucket, prefix = clocks(js), new_id()
    await bucket.create(f"{prefix}.good", at(1))
    await (await js.key_value("sessions")).put(f"{prefix}.bad", b"\xff{")
    assert [s.key for s in await bucket.items(prefix)] == [f"{prefix}.good"]


async def test_a_mirror_goes_on_after_a_value_that_cannot_be_read(js: JetStreamContext) -> None:
    bucket = Bucket(lambda: js, "keys", IngestKey)
    good = IngestKey(account="main", event=new_id())
    mirror = Mirror(lambda: js, "keys", IngestKey)
    raw = await js.key_value("keys")
    await raw.put("ingest.bad", b"\xff{")
    async with mirror.running():
        await asyncio.wait_for(mirror.wait_current(), 10)
        await bucket.create("ingest.x", good)
        await raw.put("ingest.x", b"[]")
        await bucket.create("ingest.y", good)
        await until(lambda: asyncio.sleep(0, mirror.get("ingest.y")))
        assert mirror.get("ingest.x") == good, "the last that could be read"


async def test_a_broker_that_is_away(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with connected(server.url) as js:
            js._timeout = 0.5
            bucket = clocks(js)
            key = new_id()
            await bucket.create(key, at(1))
            stored = await bucket.get(key)
            assert stored is not None
            server.kill()
            async with asyncio.timeout(60):
                elsewhere = Bucket(lambda: js, "clips", EventClock)
                for call in (
                    bucket.get(key), bucket.create("x", at(1)), bucket.replace(stored, at(2)), bucket.delete(key),
                    bucket.items(), bucket.change(key, lambda _: at(3)), elsewhere.get(key),
                ):  # fmt: skip
                    with pytest.raises(Unavailable):
                        await call
            server.start()
            await until(lambda: answered(bucket, key))


async def answered(bucket: Bucket[EventClock], key: str) -> bool:
    try:
        await bucket.get(key)
    except Unavailable:
        return False
    return True


async def test_the_mark_of_a_removed_key_has_an_end(js: JetStreamContext) -> None:
    bucket, checked, unchecked = clocks(js), new_id(), new_id()
    for key in (checked, unchecked):
        revision = await bucket.create(key, at(1))
        await bucket.delete(key, revision if key == checked else None)
        mark = await js.get_last_msg("KV_sessions", f"$KV.sessions.{key}")
        assert (mark.headers or {})["Nats-TTL"] == "86400"
    assert await bucket.get_settled(new_id()) is None


async def test_keys_under_a_prefix(js: JetStreamContext) -> None:
    bucket, first, second = clocks(js), new_id(), new_id()
    assert await bucket.keys(f"_status.main.{first}") == []
    for number in (0, 1, 10):
        await bucket.create(f"_status.main.{first}.{number}", at(number))
    await bucket.create(f"_status.main.{second}.0", at(1))
    await bucket.create(f"_status.main.{first}", at(1))
    assert await bucket.keys(f"_status.main.{first}") == [f"_status.main.{first}.{number}" for number in (0, 1, 10)]
    assert await bucket.keys("_status.main") == sorted(
        [f"_status.main.{first}.{number}" for number in (0, 1, 10)]
        + [f"_status.main.{second}.0", f"_status.main.{first}"]
    )
    assert set(await bucket.keys("_status.main")) <= set(await bucket.keys())
