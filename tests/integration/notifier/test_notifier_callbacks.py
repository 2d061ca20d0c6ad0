"""Callbacks of the CDNetworks API: their form, their secrets, and what counts as read."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.notifier.app import build
from services.scheduler.app import build as build_scheduler
from shared.messages.notifications import NotificationReplay
from shared.messages.restreams import (
    RestreamEvent,
    RestreamFileStarted,
    RestreamStateChanged,
    RestreamTargetChanged,
    RestreamWarned,
    Target,
    TargetStatus,
)
from shared.messages.subscriptions import Subscription
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url
from tests.support.nats import NatsServer
from tests.support.restream_targets import free_port
from tests.support.subscriptions import cdn_subscription, task
from tests.support.webhook_receiver import Reply, webhook_receiver
from tests.support.webhook_stack import KEY, QUICK, Desk, desk, eventually, running, settings_for

VAULT = Vault(KEY.encode())
SRC = '[{"url":"http://www.video.com/live/abc.mp4?token=hush"}]'
URLS = ("rtmp://www.push1.com/live/key1", "rtmp://www.push2.com/live/key2")
TARGETS = tuple(
    Target(target=f"{n:016x}", url=seal_url(VAULT, url), shown=url.rpartition("/")[0] + "/***")
    for n, url in enumerate(URLS)
)


async def told_at(of: Desk, url: str, ident: str = "1", **more: Any) -> Subscription:
    """Subscribe a receiver."""
    return await cdn_subscription(of.js, of.account, VAULT, url, task(VAULT, ident, src=SRC, **more))


def events_of(of: Desk, told: Subscription) -> list[RestreamEvent]:
    """Give a restream's life, an event of each kind, with what is not told among them."""
    about = {"account": of.account, "restream": uuid.uuid4().hex, "run": 1, "at_ms": 1, "subscription": told}

    def target(state: str, number: int, error: str = "", connects: int = 1) -> RestreamTargetChanged:
        status = TargetStatus(
            target=TARGETS[0].target, shown=TARGETS[0].shown, state=state, since_ms=1, error=error, connects=connects
        )  # type: ignore[arg-type]  # one of its states
        return RestreamTargetChanged(**about, number=number, status=status, target=TARGETS[0])

    return [
        RestreamStateChanged(**about, number=1, state="starting", targets=TARGETS),
        target("connecting", 2),
        target("live", 3),
        RestreamFileStarted(
            **about, number=4, item=0, loop=0, shown="http://www.video.com/live/abc.mp4", how="copied",
            video="h264", audio="aac", width=1280, height=720, rate="25", duration=705_600_000, targets=TARGETS,
        ),
        RestreamWarned(**about, number=5, text="it cannot be read: 404", shown="http://e.com/abc.mp4", targets=TARGETS),
        target("waiting", 6, "the connection was reset"),
        target("failed", 7, "refused"),
        RestreamStateChanged(**about, number=8, state="stopped", targets=TARGETS),
    ]  # fmt: skip


async def test_callbacks_have_the_page_s_form_and_keep_secrets_from_people(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        url = receiver.url("/callback?secret=1")
        for event in events_of(of, await told_at(of, url, "124", files=True)):
            await of.publish(event)
            await of.publish(event, again=True)
        await receiver.until(lambda: len(receiver.requests) >= 6)
        deliveries = await of.settled(6)
        bodies = [request.json for request in receiver.requests]
        assert bodies[0] == {
            "msg": "Start pushing!", "code": "0", "srcurl": SRC, "cmd": "1", "id": "124", "forwardurl": URLS[0],
        }  # fmt: skip
        assert [(b["code"], b["cmd"]) for b in bodies] == [
            ("0", "1"), ("0", "1"), ("2", "1"), ("2", "1"), ("1", "1"), ("0", "2"),
        ]  # fmt: skip
        assert bodies[1]["file"]["fps"] == "25"
        assert bodies[2]["msg"] == "it cannot be read: 404 (http://e.com/abc.mp4)"
        assert json.loads(bodies[-1]["forwardurl"]) == list(URLS)
        assert all(isinstance(b[name], str) for b in bodies for name in ("msg", "code", "srcurl", "id", "forwardurl"))
        kept = json.dumps([record.model_dump() for record in deliveries])
        assert "hush" not in kept
        assert "key1" not in kept
        assert "secret=1" not in kept


async def test_files_are_told_only_to_those_who_asked(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        for event in events_of(of, await told_at(of, receiver.url())):
            await of.publish(event)
        await of.settled(5)
        assert all("file" not in request.json for request in receiver.requests)


async def test_only_a_200_with_a_body_is_read_and_the_next_waits_for_it(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("scheduler", build_scheduler, settings),
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        receiver.script = [Reply(body=b""), Reply(status=204, body=b""), Reply(status=201)]
        told = events_of(of, await told_at(of, receiver.url()))
        warned, ended = told[4], told[7]
        await of.publish(warned)
        await of.publish(ended)
        records = {record.type: record for record in await of.settled(2)}
        assert {record.state for record in records.values()} == {"delivered"}
        assert [attempt.error for attempt in records["restreams.warned"].attempts] == [
            "HTTP 200 without a body", "HTTP 204", "HTTP 201", "",
        ]  # fmt: skip
        assert [request.json["cmd"] for request in receiver.requests] == ["1"] * 4 + ["2"]
        assert len({request.body for request in receiver.requests[:4]}) == 1


# What a receiver may answer to every callback that does not count as read, and how a try then ends.
DEAF = {
    "204": (Reply(status=204, body=b""), "HTTP 204"),
    "an empty body": (Reply(body=b""), "HTTP 200 without a body"),
    "blanks": (Reply(body=b" \r\n"), "HTTP 200 without a body"),
    "an error": (Reply(status=500), "HTTP 500"),
    "a redirect": (Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}), "HTTP 302"),
    "gone": (Reply(status=410), "HTTP 410"),
    "a close": (Reply(silent=True), "RemoteProtocolError"),
    "silence": (Reply(wait=asyncio.Event()), "no answer within"),
}


# Half a minute each: the notifier spares a receiver that it cannot talk to.
SLOW = ("a close", "silence")
CASES = [pytest.param(*DEAF[name], id=name, marks=[pytest.mark.soak] if name in SLOW else []) for name in DEAF]


@pytest.mark.parametrize(("reply", "error"), CASES)
async def test_a_receiver_that_never_says_it_has_read_gets_every_event_in_order(
    nats: NatsServer, tmp_path: Path, reply: Reply, error: str
) -> None:
    spared = reply.silent or reply.wait is not None  # pauses of up to a minute
    settings = settings_for(nats, tmp_path)
    policy = replace(QUICK, whole=timedelta(milliseconds=300)) if reply.wait else QUICK
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        running("scheduler", build_scheduler, settings),
        running("notifier", partial(build, policy=policy), settings),
    ):
        receiver.by_path = {"/deaf": reply}
        deaf, other = [await told_at(of, receiver.url(path)) for path in ("/deaf", "/other")]
        told, elsewhere = (events_of(of, whom)[: 5 if spared else 8] for whom in (deaf, other))
        number = 2 if spared else 5
        for event in (*told, *elsewhere):
            await of.publish(event)
        records = await of.settled(2 * number, 90)
        came = [(r.json["msg"], r.json["cmd"]) for r in receiver.to("/deaf")]
        once = [told for place, told in enumerate(came) if not place or told != came[place - 1]]
        whole = [(r.json["msg"], r.json["cmd"]) for r in receiver.to("/other")]
        assert once == whole, "every event, in order"
        assert len(whole) == number, "another receiver is told at once, and once"
        assert [came.count(told) for told in once] == [4, 3, 2, 2, 2][:number], "fewer tries while none is read"
        dead = [r for r in records if r.state == "dead"]
        assert len(dead) == number
        assert all(r.error.startswith(f"not accepted in {len(r.attempts)} tries; at last: {error}") for r in dead)
        receiver.by_path = {}
        wish = NotificationReplay(account=of.account, lane=dead[0].lane, delivery=dead[0].delivery, at_ms=2)
        await of.publish(wish)
        again = (await receiver.count(len(came) + 1, "/deaf"))[-1]
        assert again.json["msg"] == whole[0][0], "nothing is lost: it can be sent again"


async def test_a_receiver_that_comes_back_is_told_what_happened_meanwhile(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with (
        desk(nats) as of,
        running("scheduler", build_scheduler, settings),
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        port = free_port()
        told = events_of(of, await told_at(of, f"http://127.0.0.1:{port}/back"))
        for event in told:
            await of.publish(event)

        async def tried_often() -> bool:
            return any(len(record.attempts) > QUICK.brief_tries for record in await of.all())

        await eventually(tried_often, 60)
        async with webhook_receiver(port=port) as receiver:
            records = await of.settled(5, 90)
            assert {record.state for record in records} == {"delivered"}
            assert [r.json["code"] for r in receiver.requests] == ["0", "2", "2", "1", "0"]
