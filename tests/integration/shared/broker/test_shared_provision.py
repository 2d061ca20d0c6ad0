"""Provisioning: twice is as once, an older broker is brought up to date, and a full work queue refuses."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import nats as nats_py
import pytest
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, NotFoundError

from shared.broker import provision as provision_module
from shared.broker.provision import consumer_config, provision, provision_url, stream_config
from shared.broker.streams import BUCKETS, CONSUMERS, OLD_COMMANDS, STREAMS, commands_of
from shared.broker.subjects import CHANNELS
from shared.errors import Unavailable
from shared.messages.clips import ClipRefine
from shared.runtime.service import make_service
from shared.runtime.settings import Settings
from tests.support.nats import nats_server
from tests.support.recordings import connected

CLIPPING = commands_of("clipper")


async def state(js: JetStreamContext) -> dict[str, object]:
    """Give what the server has: configurations, without what it says of its own."""
    found: dict[str, object] = {}
    for name in [*(s.name for s in STREAMS), *(f"KV_{b.name}" for b in BUCKETS)]:
        found[name] = (await js.stream_info(name)).config
    for c in CONSUMERS:
        if c.turns:
            continue
        found[c.durable] = (await js.consumer_info(c.stream, c.durable)).config
    return found


async def test_twice_and_at_once_is_as_once_and_loses_nothing(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        await asyncio.gather(provision_url(server.url, 1), provision_url(server.url, 1))
        async with connected(server.url) as js:
            before = await state(js)
            await js.publish("clips.refine.main.x", b"{}", stream=CLIPPING)
            await provision(js)
            assert await state(js) == before
            assert (await js.stream_info(CLIPPING)).state.messages == 1


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
            spec = next(c for c in CONSUMERS if not c.turns)
            await js.add_consumer(spec.stream, consumer_config(replace(spec, ack_wait=timedelta(seconds=3))))
            await js.publish("clips.create.main.x", b"{}", stream=CLIPPING)
            monkeypatch.undo()
            await provision(js)
            for stream in STREAMS:
                config = (await js.stream_info(stream.name)).config
                wanted = stream_config(stream, 1)
                for field in ("subjects", "max_age", "max_bytes", "discard", "allow_msg_schedules", "duplicate_window"):
                    assert getattr(config, field) == getattr(wanted, field), (stream.name, field)
            assert (await js.consumer_info(spec.stream, spec.durable)).config.ack_wait == spec.ack_wait.total_seconds()
            assert (await js.stream_info("KV_leases")).config.max_age == 15
            assert (await js.stream_info(CLIPPING)).state.messages == 1


async def test_a_full_work_queue_refuses_and_drops_nothing(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        connection = await nats_py.connect(server.url)
        js = connection.jetstream(timeout=10)
        config = (await js.stream_info(CLIPPING)).config
        await js.update_stream(config.evolve(max_bytes=10_000))

        async def fill() -> None:
            for number in range(100):
                await js.publish(f"clips.create.main.{number}", bytes(200), stream=CLIPPING)

        with pytest.raises(APIError):
            await fill()
        full = (await js.stream_info(CLIPPING)).state
        assert full.first_seq == 1
        assert full.messages > 10
        service = make_service("clipper", Settings(data_dir=tmp_path, nats_url=server.url))
        await service.broker.connect()

        async def emit() -> None:
            for number in range(50):
                await service.outbox.emit(ClipRefine(account="main", clip=f"{number:032x}"))

        with pytest.raises(Unavailable):
            await emit()
        assert (await js.stream_info(CLIPPING)).state.first_seq == 1
        await service.broker.stop()
        await connection.close()


async def test_what_lies_in_the_one_queue_of_an_older_broker_goes_into_each_service_s_own(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        async with connected(server.url) as js:
            channels = [channel for channel in CHANNELS if channel.kind == "command"]
            old = StreamConfig(
                name=OLD_COMMANDS, subjects=[f"{channel.name}.>" for channel in channels],
                retention=RetentionPolicy.WORK_QUEUE,
            )  # fmt: skip
            await js.add_stream(old)
            await js.add_consumer(OLD_COMMANDS, durable_name="clipper-create", filter_subject="clips.create.>")
            for number, channel in enumerate(channels):
                headers = {"Nats-Msg-Id": f"id-{number}", "ce-type": channel.name}
                await js.publish(f"{channel.name}.main.x", b'{"a": 1}', stream=OLD_COMMANDS, headers=headers)
            for _ in range(2):
                await provision(js)
                for number, channel in enumerate(channels):
                    found = await js.get_last_msg(channel.stream, f"{channel.name}.main.x")
                    headers = {"Nats-Msg-Id": f"id-{number}", "ce-type": channel.name}
                    assert headers.items() <= (found.headers or {}).items()
                    assert found.data == b'{"a": 1}'
                    assert (found.seq or 0) > len(channels), "dead letters are named by it"
                queues = {channel.stream for channel in channels}
                assert sum([(await js.stream_info(queue)).state.messages for queue in queues]) == len(channels)
            with pytest.raises(NotFoundError):
                await js.stream_info(OLD_COMMANDS)


async def test_what_no_queue_takes_stays_in_the_old_one(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        async with connected(server.url) as js:
            await js.add_stream(StreamConfig(name=OLD_COMMANDS, subjects=["gone.>", "clips.create.>"]))
            await js.publish("gone.main.x", b"{}", stream=OLD_COMMANDS)
            await js.publish("clips.create.main.x", b"{}", stream=OLD_COMMANDS)
            for _ in range(2):
                await provision(js)
                assert (await js.stream_info(OLD_COMMANDS)).state.messages == 1
                assert (await js.stream_info(CLIPPING)).state.messages == 1


async def test_several_at_once_bring_an_older_broker_over_and_lose_nothing(tmp_path: Path) -> None:
    count = 300
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        async with connected(server.url) as js, connected(server.url) as second, connected(server.url) as third:
            queue = StreamConfig(name=OLD_COMMANDS, subjects=["clips.create.*.*"], retention=RetentionPolicy.WORK_QUEUE)
            await js.add_stream(queue)
            await js.add_consumer(OLD_COMMANDS, durable_name="clipper-create", filter_subject="clips.create.>")
            for number in range(count):
                headers = {"Nats-Msg-Id": f"clip-{number}"}
                await js.publish(f"clips.create.main.{number}", b"{}", stream=OLD_COMMANDS, headers=headers)
            await asyncio.gather(*(provision(one) for one in (js, second, third)))
            assert (await js.stream_info(commands_of("clipper"))).state.messages == count
            with pytest.raises(NotFoundError):
                await js.stream_info(OLD_COMMANDS)


async def test_what_another_run_makes_between_look_and_making_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run saw the old queue, and has its streams begin behind it; this one comes when it is gone."""
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        async with connected(server.url) as js:
            for spec in STREAMS:
                await js.add_stream(stream_config(spec, 1).evolve(first_seq=301))
            bucket = KeyValueConfig(bucket=BUCKETS[0].name, history=1, ttl=7)
            await js.create_key_value(bucket)
            looked: set[str] = set()
            look = js.stream_info

            async def blind(name: str, *rest: object, **more: object) -> object:
                """See nothing at the first look at each."""
                if name not in looked:
                    looked.add(name)
                    raise NotFoundError
                return await look(name, *rest, **more)  # type: ignore[arg-type]  # as they came

            monkeypatch.setattr(js, "stream_info", blind)
            await provision(js)
            assert {(await look(spec.name)).state.last_seq for spec in STREAMS} == {300}, "what comes goes behind it"
            assert (await look(f"KV_{BUCKETS[0].name}")).config.max_age == BUCKETS[0].ttl.total_seconds()
