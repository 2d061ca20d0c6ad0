"""Provisioning: twice is as once, an older broker is brought up to date, and a full work queue refuses."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import nats as nats_py
import pytest
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig
from nats.js.errors import APIError

from shared import provision as provision_module
from shared.errors import Unavailable
from shared.messages.clips import ClipRefine
from shared.provision import consumer_config, provision, provision_url, stream_config
from shared.service import make_service
from shared.settings import Settings
from shared.streams import BUCKETS, COMMANDS, CONSUMERS, STREAMS
from tests.support.nats import nats_server
from tests.support.recordings import connected


async def state(js: JetStreamContext) -> dict[str, object]:
    """Give what the server has: configurations, without what it says of its own."""
    found: dict[str, object] = {}
    for name in [*(s.name for s in STREAMS), *(f"KV_{b.name}" for b in BUCKETS)]:
        found[name] = (await js.stream_info(name)).config
    for c in CONSUMERS:
        found[c.durable] = (await js.consumer_info(c.stream, c.durable)).config
    return found


async def test_twice_and_at_once_is_as_once_and_loses_nothing(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        await asyncio.gather(provision_url(server.url, 1), provision_url(server.url, 1))
        async with connected(server.url) as js:
            before = await state(js)
            await js.publish("clips.refine.main.x", b"{}", stream=COMMANDS)
            await provision(js)
            assert await state(js) == before
            assert (await js.stream_info(COMMANDS)).state.messages == 1


async def test_an_older_broker_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        async with connected(server.url) as js:
            none = timedelta(0)
            old = tuple(
                replace(s, discard="old", max_bytes=1 << 20, subjects=s.subjects[:1], max_age=none, schedules=False)
                for s in STREAMS
            )
            monkeypatch.setattr(provision_module, "STREAMS", old)
            monkeypatch.setattr(provision_module, "CONSUMERS", ())
            monkeypatch.setattr(provision_module, "BUCKETS", tuple(b for b in BUCKETS if b.name != "leases"))
            await provision(js)
            await js.create_key_value(KeyValueConfig(bucket="leases", history=1))
            spec = CONSUMERS[0]
            await js.add_consumer(spec.stream, consumer_config(replace(spec, ack_wait=timedelta(seconds=3))))
            await js.publish("clips.create.main.x", b"{}", stream=COMMANDS)
            monkeypatch.undo()
            await provision(js)
            for stream in STREAMS:
                config = (await js.stream_info(stream.name)).config
                wanted = stream_config(stream, 1)
                for field in ("subjects", "max_age", "max_bytes", "discard", "allow_msg_schedules", "duplicate_window"):
                    assert getattr(config, field) == getattr(wanted, field), (stream.name, field)
            assert (await js.consumer_info(spec.stream, spec.durable)).config.ack_wait == spec.ack_wait.total_seconds()
            assert (await js.stream_info("KV_leases")).config.max_age == 15
            assert (await js.stream_info(COMMANDS)).state.messages == 1


async def test_a_full_work_queue_refuses_and_drops_nothing(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        connection = await nats_py.connect(server.url)
        js = connection.jetstream(timeout=10)
        config = (await js.stream_info(COMMANDS)).config
        await js.update_stream(config.evolve(max_bytes=10_000))

        async def fill() -> None:
            for number in range(100):
                await js.publish(f"clips.create.main.{number}", bytes(200), stream=COMMANDS)

        with pytest.raises(APIError):
            await fill()
        full = (await js.stream_info(COMMANDS)).state
        assert full.first_seq == 1
        assert full.messages > 10
        service = make_service("clipper", Settings(data_dir=tmp_path, nats_url=server.url))
        await service.broker.connect()

        async def emit() -> None:
            for number in range(50):
                await service.outbox.emit(ClipRefine(account="main", clip=f"{number:032x}"))

        with pytest.raises(Unavailable):
            await emit()
        assert (await js.stream_info(COMMANDS)).state.first_seq == 1
        await service.broker.stop()
        await connection.close()
