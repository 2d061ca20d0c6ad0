"""Accounts take turns when events become deliveries; whatever dies, all is told once and in order (ADR 24)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from services.notifier.app import build
from services.notifier.events import tell_of
from shared.broker import bus
from shared.broker import provision as provision_module
from shared.broker.provision import provision, provision_url
from shared.broker.streams import EVENTS, STREAMS
from shared.broker.subjects import subject_of
from shared.errors import Unavailable
from shared.messages.base import Message
from shared.messages.clips import ClipStateChanged
from shared.messages.notifications import NotificationTell
from shared.runtime.service import Service
from tests.support.nats import NatsServer, nats_server
from tests.support.shared_bus import apply
from tests.support.webhook_dying_child import PLACES
from tests.support.webhook_receiver import Receiver, webhook_receiver
from tests.support.webhook_stack import QUICK, Desk, desk, eventually, process, running, settings_for

NOTIFIER = partial(build, policy=QUICK)
DYING, CHILD = "tests.support.webhook_dying_child", "tests.support.webhook_child"


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A broker of the test's own: no other test's events are in it."""
    with nats_server(tmp_path / "nats") as server:
        yield server


async def burst(of: Desk, events: int) -> None:
    """Publish that many events, each of a clip of its own."""
    for first in range(0, events, 200):
        most = min(200, events - first)
        await asyncio.gather(*(of.publish(of.state(uuid.uuid4().hex, 1)) for _ in range(most)))


async def stories(of: Desk, clips: int, revisions: int) -> list[str]:
    """Publish the events of some clips, by turns; give the clips."""
    names = [uuid.uuid4().hex for _ in range(clips)]
    for revision in range(revisions):
        for name in names:
            await of.publish(of.state(name, revision))
    return names


def told(receiver: Receiver, path: str, clip: str) -> list[int]:
    """Give a clip's revisions as they came to a receiver; a repeat right after, with the same id, is none."""
    requests = [r for r in receiver.to(path) if r.json["data"]["clip"] == clip]
    ids = [r.headers["webhook-id"] for r in requests]
    kept = requests[:1] + [r for r, (before, own) in zip(requests[1:], pairwise(ids), strict=True) if before != own]
    assert len({r.headers["webhook-id"] for r in kept}) == len(kept)
    return [r.json["data"]["revision"] for r in kept]


def tell(event: ClipStateChanged, position: int, headers: Mapping[str, str] | None = None) -> NotificationTell:
    """Give the command to tell of an event."""
    return tell_of(subject_of(event), position, headers or {"Nats-Msg-Id": event.dedup_id})


@pytest.mark.parametrize("when", ["lies there at the start", "comes while they work"])
@pytest.mark.parametrize(("events", "webhooks"), [(1000, 3), (10, 100)])
async def test_one_event_of_another_account_is_told_next_whatever_lies_before_it(
    nats: NatsServer, tmp_path: Path, when: str, events: int, webhooks: int
) -> None:
    settings = settings_for(nats, tmp_path)
    async with desk(nats) as many, desk(nats) as one, webhook_receiver() as receiver, AsyncExitStack() as stack:
        for number in range(webhooks):
            await many.endpoint(receiver.url(f"/many/{number}"))
        await one.endpoint(receiver.url("/one"))
        if when == "comes while they work":
            await stack.enter_async_context(running("notifier", NOTIFIER, settings))
        await burst(many, events)
        known = len(receiver.requests)
        await one.publish(one.state(uuid.uuid4().hex, 1))
        if when == "lies there at the start":
            await stack.enter_async_context(running("notifier", NOTIFIER, settings))
        await receiver.count(1, "/one", within=60)
        place = next(number for number, request in enumerate(receiver.requests) if request.path == "/one")
        assert place - known < events * webhooks / 10, "of the first account's webhooks came before"


@pytest.mark.parametrize("place", PLACES)
async def test_killed_between_the_event_and_its_deliveries_all_is_told_in_order(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("DIES_AT", place)
    settings = settings_for(nats, tmp_path)
    async with desk(nats) as of, desk(nats) as other, webhook_receiver() as receiver:
        for account in (of, other):
            for durable in ("notifier-clips", "notifier-tell", "notifier-send"):
                await apply(account.js, durable, timedelta(seconds=2), account.account)
            for number in range(3):
                await account.endpoint(receiver.url(f"/{account.account}/{number}"))
        clips = {account.account: await stories(account, 2, 4) for account in (of, other)}
        with process("notifier", settings, DYING) as child:
            assert await asyncio.to_thread(child.wait, 60) == 9
        with process("notifier", settings, CHILD):
            for account in (of, other):
                assert {r.state for r in await account.settled(24, within=60)} == {"delivered"}
        for account, names in clips.items():
            for number in range(3):
                assert [told(receiver, f"/{account}/{number}", name) for name in names] == [list(range(4))] * 2


async def test_while_the_broker_is_away_nothing_is_lost_nor_overtaken(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "ACK_TIMEOUT", timedelta(milliseconds=500))
    refused = asyncio.Event()

    def noting(service: Service) -> None:
        emit = service.outbox.emit

        async def note(message: Message) -> int:
            try:
                return await emit(message)
            except Unavailable:
                refused.set()
                raise

        service.outbox.emit = note  # type: ignore[method-assign]
        NOTIFIER(service)

    async with desk(nats) as of, webhook_receiver() as receiver:
        for durable in ("notifier-clips", "notifier-tell", "notifier-send"):
            await apply(of.js, durable, timedelta(seconds=2), of.account)
        await of.endpoint(receiver.url())
        clips = await stories(of, 4, 25)
        async with running("notifier", noting, settings_for(nats, tmp_path)):
            await receiver.count(3)
            nats.kill()
            await asyncio.wait_for(refused.wait(), 30)
            await asyncio.to_thread(nats.start)
            await of.settled(100, within=60)
        assert [told(receiver, "/hook", name) for name in clips] == [list(range(25))] * 4


async def test_what_is_published_or_passed_on_twice_is_told_once(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, webhook_receiver() as receiver:
        await of.endpoint(receiver.url())
        events = [of.state(uuid.uuid4().hex, revision) for revision in range(5)]
        for event in events * 2:
            await of.publish(event, again=True)
        async with running("notifier", NOTIFIER, settings_for(nats, tmp_path)):
            await of.settled(5)
            for position in range(1, 11):
                stored = await of.js.get_msg(EVENTS, position)
                await of.publish(tell(events[(position - 1) % 5], position, stored.headers), again=True)
            await eventually(partial(done, of))
        assert len(receiver.requests) == len(await of.all()) == 5


async def done(of: Desk) -> bool:
    return not sum([await of.waiting(name) for name in ("notifier-clips", "notifier-tell", "notifier-send")])


async def test_places_that_the_broker_gives_anew_are_other_events(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, webhook_receiver() as receiver:
        await of.endpoint(receiver.url())
        async with running("notifier", NOTIFIER, settings_for(nats, tmp_path)):
            for _ in range(2):
                await burst(of, 20)
                await eventually(partial(done, of))
                await of.js.delete_stream(EVENTS)
                await provision(of.js)
            await of.settled(40)
        assert len(receiver.requests) == 40


async def test_two_instances_keep_the_order_of_what_lay_there_before_both(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with desk(nats) as of, desk(nats) as other, webhook_receiver() as receiver:
        for account in (of, other):
            await account.endpoint(receiver.url(f"/{account.account}"))
        clips = {account.account: await stories(account, 3, 15) for account in (of, other)}
        async with running("notifier", NOTIFIER, settings), running("notifier", NOTIFIER, settings):
            for account in (of, other):
                await account.settled(45, within=60)
        for account, names in clips.items():
            assert [told(receiver, f"/{account}", name) for name in names] == [list(range(15))] * 3


async def test_what_an_older_version_left_is_told_and_what_it_told_is_not_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        old = tuple(replace(s, subjects=tuple(x for x in s.subjects if "tell" not in x)) for s in STREAMS)
        monkeypatch.setattr(provision_module, "STREAMS", old)
        await provision_url(server.url, 1)
        monkeypatch.undo()
        async with desk(server) as of, webhook_receiver() as receiver:
            await of.endpoint(receiver.url())
            (name,) = await stories(of, 1, 8)
            await apply(of.js, "notifier-clips", timedelta(seconds=1))
            older = await of.js.pull_subscribe_bind("notifier-clips", EVENTS)
            for is_told in (True, True, False):  # the third was in work when the older version ended
                (message,) = await older.fetch(1)
                if is_told:
                    await message.ack_sync()
            async with running("notifier", NOTIFIER, settings_for(server, tmp_path)):
                await provision(of.js)
                await of.settled(6, within=60)
            assert told(receiver, "/hook", name) == list(range(2, 8))


async def test_an_event_that_is_no_longer_stored_goes_to_the_dead_letters(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, webhook_receiver() as receiver:
        await of.endpoint(receiver.url())
        gone = of.state(uuid.uuid4().hex, 1)
        await of.publish(gone)
        await of.publish(tell(gone, 1))
        await of.js.purge_stream(EVENTS)
        await of.publish(of.state(uuid.uuid4().hex, 2))
        async with running("notifier", NOTIFIER, settings_for(nats, tmp_path)):
            await of.settled(1)
            await eventually(partial(done, of))
        letters = await of.js.stream_info("DEADLETTERS", subjects_filter="deadletters.notifier-tell.>")
        assert len(letters.state.subjects or {}) == 1
