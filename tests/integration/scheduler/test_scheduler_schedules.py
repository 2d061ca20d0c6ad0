"""Timers, due commands and the sweep, on a real broker."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from nats.errors import TimeoutError as NatsTimeoutError

from services.scheduler.app import build
from services.scheduler.sweep import ACCOUNT, NAME
from services.scheduler.timers import length_name, reconnect_name
from shared.broker.bus import Outbox
from shared.broker.provision import provision_url
from shared.broker.streams import DEADLETTERS, SCHEDULES, commands_of
from shared.broker.subjects import schedule_subject
from shared.messages.live import JobStateChanged, LiveFinish
from shared.messages.media import RecordingsSweep
from shared.messages.notifications import NotificationSend
from shared.runtime.service import make_service
from tests.support.nats import NatsServer, nats_server
from tests.support.scheduler_live import Live, now, stored
from tests.support.webhook_stack import desk, eventually, process, running, settings_for


async def test_an_encoder_that_stays_away_ends_its_event(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)):
        live = Live(of)
        await live.job(reconnect=1)
        at = now()
        await live.tell(live.started(live.first, at), live.ended(live.first, at))
        (finish,) = await live.finishes(1)
        assert (finish.session, finish.reason, finish.at_ms) == (live.first, "reconnect_time", at + 1000)
        assert now() >= finish.at_ms


async def test_a_reconnect_cancels_and_late_copies_do_not_revive(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)):
        live, at, name = Live(of), now(), ""
        name = reconnect_name(live.event)
        await live.job(reconnect=600)
        await live.tell(live.started(live.first, at), live.ended(live.first, at + 10))
        assert await live.set_for(name) == at + 600_010
        await live.tell(live.started(live.second, at + 20))
        assert await live.set_for(name) is None
        await live.tell(live.ended(live.first, at + 10), live.started(live.first, at))
        assert await live.set_for(name) is None
        await live.tell(live.ended(live.second, at + 30))
        assert await live.set_for(name) == at + 600_030
        listed = await live.timers.get(f"{live.account}.{live.event}")
        assert listed is not None
        assert [(t.name, t.body["session"]) for t in listed.value.timers] == [(name, live.second)]


async def test_both_timers_go_when_the_event_has_ended(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)):
        live, at = Live(of), now()
        await live.job(reconnect=600, length=3600)
        await live.tell(live.started(live.first, at), live.ended(live.first, at))
        names = (f"reconnect-{live.event}", f"length-{live.event}")
        assert [await live.set_for(n) for n in names] == [at + 600_000, at + 3_600_000]
        await live.job("finished")
        change = JobStateChanged(account=live.account, event=live.event, state="finished", at_ms=at, revision=5)
        await live.tell(change)
        assert [await live.set_for(n) for n in names] == [None, None]
        assert await live.timers.get(f"{live.account}.{live.event}") is None
        await live.tell(live.ended(live.second, at + 5))  # said too late
        assert [await live.set_for(n) for n in names] == [None, None]


async def test_an_event_s_length_is_kept_through_reconnects(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)):
        live, at = Live(of), now()
        await live.job(reconnect=600, length=1)
        await live.tell(live.started(live.first, at), live.ended(live.first, at + 1), live.started(live.second, at + 2))
        (finish,) = await live.finishes(1)
        assert (finish.session, finish.reason, finish.at_ms) == (None, "event_length", at + 1000)


@pytest.mark.parametrize("skew_ms", [-3_600_000, 3_600_000])
async def test_an_ingester_whose_clock_is_off_ends_no_event_early_or_late(
    nats: NatsServer, tmp_path: Path, skew_ms: int
) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)):
        live, before = Live(of), now()
        await live.job(reconnect=600, length=7200)
        await live.tell(live.started(live.first, before + skew_ms), live.ended(live.first, before + skew_ms + 5))
        for name, wait_ms in ((reconnect_name(live.event), 600_000), (length_name(live.event), 7_200_000)):
            at = await live.set_for(name)
            assert at is not None
            assert before <= at - wait_ms <= now()


async def test_a_timer_that_was_moved_while_it_fired_ends_nothing(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)) as service:
        live, at = Live(of), now()
        await live.job(reconnect=600)
        await live.tell(live.started(live.first, at), live.ended(live.first, at + 1))
        finish = LiveFinish(
            account=live.account, event=live.event, session=live.first, reason="reconnect_time", at_ms=at - 5
        )
        await service.outbox.schedule(reconnect_name(live.event), at - 5, finish)

        async def gone() -> bool:
            return not await stored(live.js, SCHEDULES, f"due.{live.account}.{reconnect_name(live.event)}")

        await eventually(gone)
        await schedule(service.outbox, live, "after", now() - 1, 7)
        assert [f.at_ms for f in await live.finishes(1)] == [7]


async def test_a_job_that_is_taken_up_again_gets_its_timers(nats: NatsServer, tmp_path: Path) -> None:
    """The scheduler hears of the session before the gateway has taken the job up."""
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)):
        live, at = Live(of), now()
        await live.job("finished", reconnect=600, length=3600)
        await live.tell(live.started(live.second, at))
        assert await live.set_for(length_name(live.event)) is None
        await live.job("processing", reconnect=600, length=3600)
        change = JobStateChanged(account=live.account, event=live.event, state="processing", at_ms=at, revision=6)
        await live.tell(change)
        assert await live.set_for(length_name(live.event)) == at + 3_600_000


async def test_a_schedule_in_the_past_fires_at_once_and_leaves_nothing_behind(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)) as service:
        live = Live(of)
        await schedule(service.outbox, live, "past", now() - 3_600_000)
        await live.finishes(1)

        async def clean() -> bool:
            return not await stored(live.js, SCHEDULES, f"due.{live.account}.past")

        await eventually(clean)
        assert await live.set_for("past") is None


async def test_a_moved_schedule_fires_once_at_its_last_time(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)) as service:
        live = Live(of)
        for at in (now() + 60_000, now() + 300, now() + 90_000, now() + 600):
            await schedule(service.outbox, live, "moved", at, at)
        (finish,) = await live.finishes(1)
        assert finish.at_ms == at
        await schedule(service.outbox, live, "cancelled", now() + 300)
        await service.outbox.unschedule(live.account, "cancelled")
        await schedule(service.outbox, live, "after", now() + 400, 7)
        assert [f.at_ms for f in await live.finishes(2)] == [at, 7]


async def schedule(outbox: Outbox, live: Live, name: str, at: int, mark: int = 1) -> None:
    # each mark is a message of its own, so that the broker's check for duplicates hides nothing
    session = f"{mark:032x}"
    await outbox.schedule(
        name, at, LiveFinish(account=live.account, event=live.event, session=session, reason="event_length", at_ms=mark)
    )


async def test_a_due_message_twice_is_one_command(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)) as service:
        live = Live(of)
        for _ in range(2):
            await schedule(service.outbox, live, "twice", now() - 1)
            await live.finishes(1)
        await schedule(service.outbox, live, "after", now() - 1, 2)
        assert len(await live.finishes(2)) == 2


async def test_an_unknown_command_goes_to_the_dead_letters(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)):
        body = {"account": of.account, "name": "bad", "at_ms": 1, "target": "clips.explode", "body": {}}
        ack = await of.js.publish(f"due.{of.account}.bad", json.dumps(body).encode(), stream=SCHEDULES)

        async def letter() -> list[dict[str, object]]:
            return await stored(of.js, DEADLETTERS, f"deadletters.scheduler-due.{ack.seq}")

        (found,) = await eventually(letter)
        assert "clips.explode" in str(found["error"])


async def test_a_retry_of_the_notifier_comes_out_as_its_command(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as of, running("scheduler", build, settings_for(nats, tmp_path)) as service:
        order = NotificationSend(account=of.account, lane="a" * 32, delivery="d" * 32, due_ms=5)
        await service.outbox.schedule("lane-" + "a" * 32, now() - 1, order)

        async def sent() -> list[dict[str, object]]:
            return await stored(of.js, commands_of("notifier"), f"notifications.send.{of.account}.{order.lane}")

        assert await eventually(sent) == [order.model_dump(mode="json")]


async def test_one_chain_of_sweeps_with_several_instances_and_restarts(nats: NatsServer, tmp_path: Path) -> None:
    every = timedelta(seconds=1)
    settings = settings_for(nats, tmp_path)
    quick = partial(build, sweep_every=every)

    async with desk(nats) as of:
        await of.js.purge_stream(SCHEDULES, subject=schedule_subject(ACCOUNT, NAME))  # another test's, an hour away

        async def ticks() -> list[int]:
            subject = f"recordings.sweep.{ACCOUNT}.all"
            return [
                RecordingsSweep.model_validate(m).tick_ms for m in await stored(of.js, commands_of("archiver"), subject)
            ]

        async def so_many(number: int) -> bool:
            return len(await ticks()) >= number

        async with running("scheduler", quick, settings), running("scheduler", quick, settings):
            await eventually(lambda: so_many(2))
            assert len(await stored(of.js, SCHEDULES, schedule_subject(ACCOUNT, NAME))) <= 1
        async with running("scheduler", quick, settings):
            await eventually(lambda: so_many(4))
        found = await ticks()
        assert len(set(found)) == len(found)  # no tick twice
        assert all(tick % 1000 == 0 for tick in found)
        await of.js.purge_stream(SCHEDULES, subject=schedule_subject(ACCOUNT, NAME))
        async with running("scheduler", quick, settings):  # a lost chain begins anew
            await eventually(lambda: so_many(len(found) + 1))


async def test_timers_survive_kill_9_of_broker_and_scheduler(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        settings = settings_for(server, tmp_path)
        async with desk(server) as of:
            live, at = Live(of), now()
            await live.job(reconnect=2)
            with process("scheduler", settings):
                await live.tell(live.started(live.first, at), live.ended(live.first, at))
            server.kill()
            await asyncio.to_thread(server.start)
            other = Live(of)
            await other.job(reconnect=1)
            await other.publish(other.started(other.first, at))
            await other.publish(other.ended(other.first, at))  # its time is over before the scheduler is back
            with process("scheduler", settings):
                for event, session in ((live, live.first), (other, other.first)):
                    (finish,) = await event.finishes(1, within=40)
                    assert finish.session == session


async def test_a_consumer_of_one_at_a_time_waits_for_a_message_that_comes_again(tmp_path: Path) -> None:
    """The notifier's fan-out keeps its order by this: a delayed redelivery holds back what is behind it."""
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        await provision_url(server.url, 1)
        async with desk(server) as of:
            for revision in (1, 2):
                await of.publish(of.state("c" * 32, revision))
            sub = await of.js.pull_subscribe("clips.>", durable="notifier-clips", stream="EVENTS")
            (first,) = await sub.fetch(1, timeout=5)
            await first.nak(delay=1)
            with pytest.raises(NatsTimeoutError):
                await sub.fetch(1, timeout=0.3)
            (again,) = await sub.fetch(1, timeout=10)
            assert again.data == first.data
            await again.ack()
            (second,) = await sub.fetch(1, timeout=5)
            assert second.data != first.data


def test_build_registers_each_consumer_of_the_scheduler(nats: NatsServer, tmp_path: Path) -> None:
    service = make_service("scheduler", settings_for(nats, tmp_path))
    build(service)
    assert len(service.broker.subscribers) == 4
