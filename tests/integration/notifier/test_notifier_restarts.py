"""What becomes of webhooks when the notifier, or the broker, dies or is stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import uuid
from datetime import timedelta
from functools import partial
from pathlib import Path

from services.notifier.app import build
from services.scheduler.app import build as build_scheduler
from tests.support.nats import NatsServer, nats_server
from tests.support.shared_bus import apply
from tests.support.webhook_receiver import Reply, webhook_receiver
from tests.support.webhook_stack import QUICK, Desk, desk, eventually, process, running, settings_for

CHILD = "tests.support.webhook_child"


async def hurry(of: Desk) -> None:
    """Have the broker notice a dead notifier after 2 s."""
    for durable in ("notifier-send", "notifier-tell", "notifier-clips"):
        await apply(of.js, durable, timedelta(seconds=2), of.account)


async def test_killed_while_it_sends_it_sends_again_with_the_same_id(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with desk(nats) as of, webhook_receiver() as receiver:
        await hurry(of)
        _, secret = await of.endpoint(receiver.url())
        receiver.script = [Reply(wait=asyncio.Event())]
        name = uuid.uuid4().hex
        with process("notifier", settings, CHILD) as child:
            for revision in (1, 2):
                await of.publish(of.state(name, revision))
            await receiver.count(1)
            child.kill()
        with process("notifier", settings, CHILD):
            await receiver.count(3, within=60)
            records = await of.settled(2, within=60)
        assert [r.json["data"]["revision"] for r in receiver.requests] == [1, 1, 2]
        assert [r.headers["webhook-id"] for r in receiver.requests[:2]] == [f"msg_{records[0].delivery}"] * 2
        assert all(r.signed_by(secret) for r in receiver.requests)
        assert {r.state for r in records} == {"delivered"}


async def test_stopped_while_it_sends_it_ends_what_it_has_begun(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, webhook_receiver() as receiver:
        await of.endpoint(receiver.url())
        answer = asyncio.Event()
        receiver.default = Reply(wait=answer)
        with process("notifier", settings_for(nats, tmp_path), CHILD) as child:
            await of.publish(of.state(uuid.uuid4().hex, 1))
            await receiver.count(1)
            child.send_signal(signal.SIGTERM)
            answer.set()
            assert await asyncio.to_thread(child.wait, 30) == 0
        (record,) = await of.settled(1)
        assert (record.state, len(receiver.requests)) == ("delivered", 1)


async def test_retries_survive_the_notifier_s_end_and_the_broker_s_death(tmp_path: Path) -> None:
    policy = dataclasses.replace(QUICK, delays=(timedelta(seconds=1), timedelta(seconds=60)))
    with nats_server(tmp_path / "nats") as server:
        settings = settings_for(server, tmp_path)
        async with desk(server) as of, webhook_receiver() as receiver:
            await of.endpoint(receiver.url())
            receiver.script = [Reply(500)]
            async with running("notifier", partial(build, policy=policy), settings):
                await of.publish(of.state(uuid.uuid4().hex, 1))

                async def scheduled() -> bool:
                    return bool(receiver.requests) and await of.waiting("notifier-send") == 0

                await eventually(scheduled)
            server.kill()
            await asyncio.to_thread(server.start)
            async with (
                running("scheduler", build_scheduler, settings),
                running("notifier", partial(build, policy=policy), settings),
            ):
                (record,) = await of.settled(1, within=60)
            assert [a.status for a in record.attempts] == [500, 200]


async def test_two_notifiers_send_each_delivery_once_and_in_order(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    quick = partial(build, policy=QUICK)
    async with desk(nats) as of, webhook_receiver() as receiver:
        await of.endpoint(receiver.url())
        names = [uuid.uuid4().hex for _ in range(5)]
        async with running("notifier", quick, settings), running("notifier", quick, settings):
            for revision in range(6):
                for name in names:
                    await of.publish(of.state(name, revision))
            await of.settled(30)
        for name in names:
            told = [r.json["data"]["revision"] for r in receiver.requests if r.json["data"]["clip"] == name]
            assert told == list(range(6))
