"""Subscriptions: what their messages repeat is stored once, may be another by now, or may not be there."""

from __future__ import annotations

import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.notifier.app import build
from shared.messages.notifications import NotificationReplay
from shared.messages.restreams import RestreamFileStarted, RestreamStateChanged, RestreamWarned
from shared.messages.subscriptions import Subscription, context_key
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url
from tests.support.nats import NatsServer
from tests.support.subscriptions import contexts, stored, task
from tests.support.webhook_receiver import webhook_receiver
from tests.support.webhook_stack import KEY, QUICK, Desk, desk, eventually, running, settings_for

VAULT = Vault(KEY.encode())
NOWHERE = f"{'4' * 32}.{'f' * 16}"


def subscription(url: str, context: str | None, **fields: Any) -> Subscription:
    return Subscription(**{"form": "cdnetworks", "url": seal_url(VAULT, url), "context": context, **fields})


def about(of: Desk, told: Subscription, number: int) -> dict[str, Any]:
    restream = uuid.uuid5(uuid.NAMESPACE_URL, of.account).hex
    return {
        "account": of.account, "restream": restream, "run": 1, "number": number, "at_ms": 1, "subscription": told
    }  # fmt: skip


def warned(of: Desk, told: Subscription, number: int = 1) -> RestreamWarned:
    return RestreamWarned(**about(of, told, number), text=f"fault {number}")


def started(of: Desk, told: Subscription, number: int) -> RestreamStateChanged:
    """Make an event that callbacks do not tell."""
    return RestreamStateChanged(**about(of, told, number), state="starting")


async def unsayable(of: Desk, url: str, case: str) -> Subscription:
    """Subscribe a receiver whom nothing can be told."""
    if case == "another form's context":
        return subscription(url, await stored(of.js, of.account, {"who": "knows"}))
    if case == "no such form":
        return subscription(url, None, form="nobody_s")
    if case == "another account's context":
        return subscription(url, await stored(of.js, "another", task(VAULT)))
    known = await stored(of.js, of.account, task(VAULT))
    return subscription(url, known, base=NOWHERE) if case == "no base" else subscription(url, NOWHERE)


LOST = {
    "no context": "what its messages repeat is no longer stored",
    "no base": "what its messages repeat is no longer stored",
    "another account's context": "what its messages repeat is no longer stored",
    "another form's context": "what its messages repeat is not of the form cdnetworks",
    "no such form": "there is no form nobody_s here",
}


@pytest.mark.parametrize("case", LOST)
async def test_what_cannot_be_said_is_given_up_with_its_reason_and_holds_up_nothing(
    nats: NatsServer, tmp_path: Path, case: str
) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        lost = await unsayable(of, receiver.url("/lost"), case)
        await of.publish(warned(of, lost))
        await of.publish(warned(of, lost), again=True)
        if case != "no such form":
            await of.publish(started(of, lost, 2))  # which is not told of at all
        known = subscription(receiver.url("/known"), await stored(of.js, of.account, task(VAULT)))
        await of.publish(warned(of, known, 3))
        dead, delivered = await of.settled(2)
        assert (dead.state, dead.error, dead.tries) == ("dead", LOST[case], 0)
        assert delivered.state == "delivered"
        wish = NotificationReplay(account=of.account, lane=dead.lane, delivery=dead.delivery, at_ms=2)
        await of.publish(wish)

        async def again() -> bool:
            return any(r.delivery == dead.delivery and r.replayed_ms == 2 and r.state == "dead" for r in await of.all())

        await eventually(again)
        assert [request.path for request in receiver.requests] == ["/known"], "nothing is posted of what is lost"


async def test_each_event_tells_what_it_named_though_that_changed_before_it_was_told(
    nats: NatsServer, tmp_path: Path
) -> None:
    """The notifier was away while a task was updated."""
    async with desk(nats) as of, webhook_receiver() as receiver:
        older, newer = [
            subscription(receiver.url(), await stored(of.js, of.account, task(VAULT, cmd=cmd, src=src)))
            for cmd, src in (("1", '["a"]'), ("3", '["b"]'))
        ]
        await of.publish(warned(of, older, 1))
        await of.publish(warned(of, newer, 2))
        async with running("notifier", partial(build, policy=QUICK), settings_for(nats, tmp_path)):
            await of.settled(2)
        said = [(r.json["msg"], r.json["cmd"], r.json["srcurl"]) for r in receiver.requests]
        assert said == [("fault 1", "1", '["a"]'), ("fault 2", "3", '["b"]')]


async def test_what_was_fanned_out_needs_its_context_no_more(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        name = await stored(of.js, of.account, task(VAULT))
        told = subscription(receiver.url(), name)
        await of.publish(warned(of, told))
        (first,) = await of.settled(1)
        await contexts(of.js).delete(context_key(of.account, name))
        await of.publish(warned(of, told), again=True)
        await of.publish(NotificationReplay(account=of.account, lane=first.lane, delivery=first.delivery, at_ms=2))
        one, two = await receiver.count(2)
        assert one.body == two.body
        assert [record.state for record in await of.settled(1)] == ["delivered"]


@pytest.mark.parametrize("files", [True, False])
async def test_a_resume_has_of_the_call_before_what_it_does_not_say(
    nats: NatsServer, tmp_path: Path, files: bool
) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        base = await stored(of.js, of.account, task(VAULT, files=files))
        resumed = await stored(of.js, of.account, task(VAULT, "2", "5", '["b"]'))
        told = subscription(receiver.url(), resumed, base=base)
        await of.publish(
            RestreamFileStarted(**about(of, told, 1), item=0, loop=0, shown="a.mp4", how="copied", video="h264")
        )
        await of.publish(warned(of, told, 2))
        await of.settled(1 + files)
        said = [(r.json["msg"], r.json["cmd"], r.json["id"], r.json["srcurl"]) for r in receiver.requests]
        assert said == [("Start playing file: a.mp4", "5", "2", '["b"]'), ("fault 2", "5", "2", '["b"]')][not files :]


async def test_a_subscription_may_be_told_as_webhooks_are(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        endpoint, _ = await of.endpoint(receiver.url("/endpoint"))
        await of.publish(warned(of, subscription(receiver.url("/told"), None, form="standard")))
        records = await of.settled(2)
        assert {record.endpoint for record in records} == {None, endpoint.endpoint}
        (told,), (registered,) = receiver.to("/told"), receiver.to("/endpoint")
        assert told.body == registered.body
        assert told.json["data"]["text"] == "fault 1"
        assert "subscription" not in json.dumps(told.json)
