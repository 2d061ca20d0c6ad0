"""Webhooks on a real broker, to a real receiver."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from services.notifier.app import build
from services.notifier.events import Happening
from services.notifier.forms.standard import payload
from services.notifier.lanes import Lanes
from services.notifier.receivers import Receiver as Told
from services.notifier.retries import Policy
from services.notifier.traffic import PER_RECEIVER
from services.scheduler.app import build as build_scheduler
from shared.broker.streams import EVENTS
from shared.messages.base import Notification
from shared.messages.live import SessionStarted
from shared.messages.notifications import DeliveryRecord, LaneEntry, NotificationReplay
from shared.security.secrets import Vault
from shared.security.webhooks import account_secret, seal_url
from tests.support.nats import NatsServer
from tests.support.webhook_receiver import Receiver, Reply, webhook_receiver
from tests.support.webhook_stack import KEY, QUICK, Desk, desk, eventually, running, settings_for


@contextlib.asynccontextmanager
async def setting(nats: NatsServer, folder: Path, policy: Policy = QUICK) -> AsyncIterator[tuple[Desk, Receiver]]:
    """A desk, a receiver, and a notifier between them; the scheduler brings longer waits to their end."""
    settings = settings_for(nats, folder)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("scheduler", build_scheduler, settings),
        running("notifier", partial(build, policy=policy), settings),
    ):
        yield of, receiver


def clip() -> str:
    return uuid.uuid4().hex


async def idle(of: Desk) -> None:
    """Wait until the notifier has nothing left to do."""
    durables = ("notifier-clips", "notifier-live", "notifier-tell", "notifier-send", "notifier-replay")

    async def nothing() -> bool:
        return sum([await of.waiting(durable) for durable in durables]) == 0

    await eventually(nothing)


async def test_an_endpoint_is_told_in_order_signed_and_once_though_every_message_comes_twice(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        endpoint, secret = await of.endpoint(receiver.url("/all"))
        await of.endpoint(receiver.url("/live"), "live.*")
        one, two = clip(), clip()
        for revision in range(5):
            for name in (one, two):
                event = of.state(name, revision)
                await of.publish(event)
                await of.publish(event, again=True)
        session = SessionStarted(account=of.account, event=clip(), session=clip(), protocol="srt", at_ms=1, origin_ms=0)
        await of.publish(session)
        records = await of.settled(12)
        await idle(of)
        assert len(receiver.requests) == 12
        for name in (one, two):
            told = [r for r in receiver.to("/all") if r.json["data"].get("clip") == name]
            assert [r.json["data"]["revision"] for r in told] == list(range(5))
        assert [r.json["type"] for r in receiver.to("/live")] == ["live.session.started"]
        assert all(r.signed_by(secret) for r in receiver.to("/all"))
        assert {r.headers["webhook-id"] for r in receiver.requests} == {f"msg_{r.delivery}" for r in records}
        request = receiver.to("/all")[0]
        assert (request.headers["content-type"], request.headers["user-agent"]) == (
            "application/json", "Reelay-Webhooks/1",
        )  # fmt: skip
        assert {r.state for r in records} == {"delivered"}
        assert {(len(r.attempts), r.attempts[0].status, r.tries) for r in records} == {(1, 200, 1)}
        assert {r.endpoint for r in records if r.url.endswith("/all")} == {endpoint.endpoint}


@pytest.mark.parametrize("stopped_after", ["nothing", "record", "lane"])
async def test_a_fan_out_that_was_cut_off_is_completed(nats: NatsServer, tmp_path: Path, stopped_after: str) -> None:
    """Killed before the event was acknowledged, wherever it was: the event comes again."""
    async with desk(nats) as of, webhook_receiver() as receiver:
        endpoint, _ = await of.endpoint(receiver.url())
        event = of.state(clip(), 1)
        to, happening = Told(endpoint.url, endpoint=endpoint.endpoint), Happening(event, 1, event.at_ms)
        record = DeliveryRecord(
            account=of.account, delivery=to.delivery(happening), lane=to.lane(happening), position=1, url=to.url,
            endpoint=endpoint.endpoint, type=event.channel, resource=event.clip, state="pending",
            payload=payload(happening, to.notify, ""), created_ms=event.at_ms, deadline_ms=event.at_ms + 60_000,
        )  # fmt: skip
        if stopped_after != "nothing":
            await of.deliveries.create(f"{of.account}.{record.delivery}", record)
        if stopped_after == "lane":
            entry = LaneEntry(position=1, delivery=record.delivery)
            await Lanes(of.lanes).add(of.account, record.lane, entry)
        await of.publish(event)
        async with running("notifier", build, settings_for(nats, tmp_path)):
            (done,) = await of.settled(1)
            await idle(of)
        assert (done.delivery, done.state, len(receiver.requests)) == (record.delivery, "delivered", 1)


async def test_receivers_named_in_a_request_are_told_what_they_asked_for(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        name = clip()
        wishes = (
            Notification(url=seal_url(Vault(KEY.encode()), receiver.url("/every?type=jvod"))),
            Notification(url=seal_url(Vault(KEY.encode()), receiver.url("/last")), event="output_finished"),
            Notification(url=seal_url(Vault(b"another installation"), receiver.url("/lost"))),
            Notification(
                url=seal_url(Vault(KEY.encode()), receiver.url("/in").replace("://", "://me:p%40ss%3Aword@")),
                event="output_finished",
            ),
        )
        for revision, state in enumerate(("waiting", "processing", "finished")):
            await of.publish(of.state(name, revision, state, label="goal", notifications=wishes))
        records = await of.settled(5)
        assert not any("jvod" in r.model_dump_json(exclude={"payload"}) for r in records)
        assert not any("p%40ss" in r.model_dump_json() for r in records)
        (login,) = receiver.to("/in")
        assert login.headers["authorization"] == "Basic " + base64.b64encode(b"me:p@ss:word").decode()
        assert "authorization" not in receiver.to("/last")[0].headers
        every = receiver.to("/every?type=jvod")
        assert [(r.json["jvod_id"], r.json["jvod_state"], r.json["label"]) for r in every] == [
            (name, "waiting", "goal"), (name, "processing", "goal"), (name, "finished", "goal"),
        ]  # fmt: skip
        assert [r.json["event"] for r in receiver.to("/last")] == ["output_finished"]
        secret = account_secret(Vault(KEY.encode()), of.account)
        assert all(r.signed_by(secret) for r in receiver.requests)


async def test_a_failed_delivery_comes_again_with_the_same_id_and_what_follows_it_waits(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        _, secret = await of.endpoint(receiver.url())
        receiver.script = [Reply(503), Reply(302, {"Location": "/elsewhere"}), Reply(silent=True)]
        name = clip()
        for revision in (1, 2):
            await of.publish(of.state(name, revision))
        first, second = await of.settled(2)
        assert [r.json["data"]["revision"] for r in receiver.requests] == [1, 1, 1, 1, 2]
        assert len({r.headers["webhook-id"] for r in receiver.requests}) == 2
        assert len({r.body for r in receiver.requests[:4]}) == 1
        assert all(r.signed_by(secret) for r in receiver.requests)
        assert not receiver.to("/elsewhere")
        assert [a.status for a in first.attempts] == [503, 302, None, 200]
        assert [a.status for a in second.attempts] == [200]
        assert (first.state, second.state) == ("delivered", "delivered")
        gaps = [b.at - a.at for a, b in zip(receiver.requests[:3], receiver.requests[1:4], strict=True)]
        assert all(gap >= delay.total_seconds() for gap, delay in zip(gaps, QUICK.delays, strict=True))


async def test_a_receiver_that_hangs_delays_nobody_else(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        released = asyncio.Event()
        receiver.by_path = {"/stuck": Reply(wait=released)}
        await of.endpoint(receiver.url("/stuck"))
        for revision in range(60):
            await of.publish(of.state(clip(), revision))
        await receiver.count(PER_RECEIVER, "/stuck")
        await of.endpoint(receiver.url("/quick"), "live.*")
        for _ in range(20):
            await of.publish(
                SessionStarted(account=of.account, event=clip(), session=clip(), protocol="rtmp", at_ms=1, origin_ms=0)
            )
        assert len(await receiver.count(20, "/quick")) == 20
        assert receiver.under_way["/stuck"] == receiver.most_at_once["/stuck"] == PER_RECEIVER
        released.set()
        records = await of.settled(60 + 20 + 20)  # /stuck is told of the sessions too
        assert {r.state for r in records} == {"delivered"}
        assert len(receiver.to("/stuck")) == 80
        assert receiver.most_at_once["/stuck"] <= PER_RECEIVER


async def test_a_receiver_that_answers_endlessly_or_slowly_is_cut_off(nats: NatsServer, tmp_path: Path) -> None:
    policy = replace(QUICK, whole=timedelta(milliseconds=300), lifetime=timedelta(0))
    async with setting(nats, tmp_path, policy) as (of, receiver):
        receiver.by_path = {"/endless": Reply(endless=True), "/slow": Reply(wait=asyncio.Event())}
        await of.endpoint(receiver.url("/endless"))
        await of.endpoint(receiver.url("/slow"))
        await of.publish(of.state(clip(), 1))
        by_path = {r.url.rsplit("/", 1)[1]: r for r in await of.settled(2)}
        assert (by_path["endless"].state, by_path["endless"].attempts[0].status) == ("delivered", 200)
        assert (by_path["slow"].state, by_path["slow"].attempts[0].error) == ("dead", "no answer within 0.3 s")


async def test_given_up_after_its_lifetime_listed_and_replayed_by_wish_alone(nats: NatsServer, tmp_path: Path) -> None:
    policy = replace(QUICK, lifetime=timedelta(milliseconds=250))
    async with setting(nats, tmp_path, policy) as (of, receiver):
        receiver.default = Reply(500)
        _, secret = await of.endpoint(receiver.url())
        await of.publish(of.state(clip(), 1))
        (dead,) = await of.settled(1)
        assert dead.state == "dead"
        assert [a.status for a in dead.attempts] == [500] * len(dead.attempts)
        assert dead.attempts[-1].at_ms >= dead.deadline_ms
        assert "HTTP 500" in dead.error
        tried = len(receiver.requests)
        await idle(of)
        assert len(receiver.requests) == tried >= 2

        receiver.default = Reply(200)
        wish = NotificationReplay(account=of.account, lane=dead.lane, delivery=dead.delivery, at_ms=5)
        await of.publish(wish)
        await of.publish(wish, again=True)

        async def delivered() -> bool:
            return (await of.all())[0].state == "delivered"

        await eventually(delivered)
        await of.publish(wish, again=True)  # an old wish once more, after it was fulfilled
        await idle(of)
        assert len(receiver.requests) == tried + 1
        assert len({r.headers["webhook-id"] for r in receiver.requests}) == 1
        assert receiver.requests[-1].signed_by(secret)
        unknown = NotificationReplay(account=of.account, lane="0" * 32, delivery="0" * 32, at_ms=5)
        await of.publish(unknown)
        await idle(of)


async def test_gone_is_final_and_what_waits_behind_goes_on(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        receiver.script = [Reply(410)]
        await of.endpoint(receiver.url())
        name = clip()
        for revision in (1, 2):
            await of.publish(of.state(name, revision))
        first, second = await of.settled(2)
        assert (first.state, len(first.attempts)) == ("dead", 1)
        assert second.state == "delivered"


async def test_an_endpoint_that_is_changed_meanwhile(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        receiver.by_path = {"/old": Reply(500)}
        moved, _ = await of.endpoint(receiver.url("/old"), "clips.*")
        await of.publish(of.state(clip(), 1))
        await receiver.count(1, "/old")
        await of.change(moved, url=receiver.url("/new"))
        await receiver.count(1, "/new")
        await of.settled(1)

        await of.change(moved, url=receiver.url("/old"))
        await of.publish(of.state(clip(), 2))
        await receiver.until(lambda: len(receiver.to("/old")) >= 2)
        await of.change(moved, enabled=False)
        records = await of.settled(2)
        assert (records[1].state, records[1].error) == ("dead", "the endpoint is disabled")

        deleted, _ = await of.endpoint(receiver.url("/old"), "clips.*")
        await of.publish(of.state(clip(), 3))
        await receiver.until(lambda: len(receiver.to("/old")) >= 3)
        await of.webhooks.delete(f"{of.account}.{deleted.endpoint}")
        assert (await of.settled(3))[2].error == "the endpoint was deleted"


@pytest.mark.parametrize("secret", ["not encrypted", ""])
async def test_a_secret_that_can_t_be_read_ends_the_delivery_and_holds_nothing_up(
    nats: NatsServer, tmp_path: Path, secret: str
) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        endpoint, _ = await of.endpoint(receiver.url())
        await of.change(endpoint, secret=secret)
        await of.publish(of.state(clip(), 1))
        (record,) = await of.settled(1)
        assert (record.state, record.error) == ("dead", "the endpoint's secret can't be read")
        await idle(of)


async def test_an_address_that_may_not_be_reached_is_a_failed_try(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path, replace(QUICK, lifetime=timedelta(0))) as (of, receiver):
        for url in ("http://10.0.0.1/", "http://[::1]/", receiver.url(host="localhost"), "http://127.0.0.1:1/"):
            await of.endpoint(url)
        await of.publish(of.state(clip(), 1))
        by_url = {r.url: r for r in await of.settled(4)}
        assert "may be reached from here" in by_url["http://10.0.0.1/"].attempts[0].error
        assert "may be reached from here" in by_url["http://[::1]/"].attempts[0].error
        assert "ConnectError" in by_url["http://127.0.0.1:1/"].attempts[0].error
        assert by_url[receiver.url(host="localhost")].state == "delivered"


async def test_an_event_that_can_t_be_read_goes_to_the_dead_letters_and_the_next_one_is_told(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with setting(nats, tmp_path) as (of, receiver):
        await of.endpoint(receiver.url())
        for body in (b'{"account": 5}', b"[]", b"\xff{", b""):
            await of.js.publish(f"clips.state_changed.{of.account}.{clip()}", body, stream=EVENTS)
        await of.publish(of.state(clip(), 1))
        assert len(await of.settled(1)) == 1
        letters = await of.js.stream_info("DEADLETTERS", subjects_filter="deadletters.notifier-tell.>")
        assert len(letters.state.subjects or {}) == 4
