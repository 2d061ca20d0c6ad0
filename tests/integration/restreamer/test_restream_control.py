"""Commands, holders and the clock of restreams, on a real broker; every command is sent twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from services.restreamer.decide import entered
from services.restreamer.playout import Ended, Warned
from services.restreamer.records import RestreamRecords
from shared.broker.streams import SCHEDULES
from shared.broker.subjects import schedule_subject
from shared.messages.jobs import JobRecord
from shared.messages.restreams import (
    FLICKS,
    LiveInsert,
    PlaylistCursor,
    RestreamRecord,
    RestreamStateChanged,
    StateNews,
)
from shared.messages.subscriptions import Subscription
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import Session
from tests.support.restream_desk import CLOCK, Desk, begun, called, desk, stage
from tests.support.shared_bus import child, send, settings_for
from tests.support.webhook_stack import eventually


async def test_a_life(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as at, stage(nats, tmp_path) as one:
        await at.send("start", spec=at.spec("a.mp4", "b.mp4", to=("rtmp://h/a/1", "rtmp://h/a/2")))
        await at.state("playing")
        playout = await begun(one, at)
        assert [t.url for t in playout.targets] == ["rtmp://h/a/1", "rtmp://h/a/2"]
        update = {"spec": at.spec("c.mp4"), "wait_current": True}
        wishes: list[tuple[Any, dict[str, Any], list[str]]] = [
            ("pause", {}, ["pause"]),
            ("resume", {}, ["unpause"]),
            ("seek", {"item": 1, "at": 2 * FLICKS}, [f"move 1 {2 * FLICKS}"]),
            ("skip", {}, ["move -1 0"]),
            ("stop", {"only": (at.target("rtmp://h/a/1").target,)}, ["targets 1"]),
            ("update", update, ["update 1 True"]),
            ("targets", {"targets": (at.target("rtmp://h/a/3"),)}, ["targets 1"]),
        ]
        expected: list[str] = []
        for verb, fields, calls in wishes:
            await at.send(verb, **fields)
            expected += calls
            await called(playout, *expected)
        playout.report(Warned("a file was left out", item=0, shown="c.mp4"))

        async def warned() -> bool:
            return any(channel == "warned" for channel, _ in await at.events())

        await eventually(warned)  # after a stop nothing is told
        await at.send("stop")
        await at.state("stopped")
        place = await at.held("")
        assert playout.stopped
        assert (place.cursor, place.spec_number, place.moved) == (playout.snapshot().cursor, 1, 2)
        assert place.cursor.at > 0
        states = ["starting", "playing", "paused", "playing", "stopped"]
        assert await at.told() == [(1, state) for state in states]
        told = await at.events()
        targets = [(b["status"]["shown"][-1], b["status"]["state"]) for c, b in told if c == "target.state_changed"]
        assert targets == [("1", "live"), ("2", "live"), ("1", "removed"), ("3", "live"), ("2", "removed")]
        assert [b["shown"] for c, b in told if c == "file.started"] == ["a.mp4"]
        assert [b["text"] for c, b in told if c == "warned"] == ["a file was left out"]
        numbers = [b["number"] for c, b in told if c == "target.state_changed"]
        assert numbers == sorted(set(numbers))


async def test_a_stop_and_a_resume_at_the_place(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as at, stage(nats, tmp_path) as one:
        await at.send("start", spec=at.spec("a.mp4", "b.mp4"))
        await at.state("playing")
        playout = await begun(one, at)
        await at.send("seek", item=1, at=9 * FLICKS)
        await called(playout, f"move 1 {9 * FLICKS}")
        await at.send("stop")
        await at.send("resume", spec=at.spec("x.mp4", "a.mp4", "b.mp4"))  # before the holder can have let go
        await at.state("playing", run=2)
        resumed = await begun(one, at, 2)
        assert resumed.begun == playout.snapshot().cursor.model_copy(update={"item": 2})
        await at.send("start", spec=at.spec("c.mp4"))  # over the running one
        await at.state("playing", run=3)
        anew = await begun(one, at, 3)
        assert resumed.stopped
        assert anew.begun == PlaylistCursor()
        assert (await at.told())[-4:] == [(2, "playing"), (2, "stopped"), (3, "starting"), (3, "playing")]


async def test_the_end_of_the_list_and_a_list_that_cannot_be_played(nats: NatsServer, tmp_path: Path) -> None:
    for report, state in ((Ended(), "ended"), (Ended(failed=True, reason="no file"), "failed")):
        async with desk(nats) as at, stage(nats, tmp_path) as one:
            await at.send("start", spec=at.spec())
            await at.state("playing")
            (await begun(one, at)).report(report)
            over = await at.state(state)  # type: ignore[arg-type]
            assert over.reason == report.reason
            await at.held("")
            assert await at.told() == [(1, "starting"), (1, "playing"), (1, state)]


async def test_commands_that_waited_are_applied_in_their_order(tmp_path: Path) -> None:
    """The last one over a start counts, and one that comes too late is told once, to whom it says."""
    with nats_server(tmp_path / "nats") as server:
        async with desk(server) as at, desk(server) as other:
            for each in (at, other):
                await each.send("start", spec=each.spec("a.mp4"))
                await each.send("stop")
            told = Subscription(form="anyone_s", url="sealed", context=f"{at.restream}.{'a' * 16}")
            late = await at.send("stop", subscription=told)
            await other.send("resume", spec=other.spec("a.mp4", "b.mp4"))
            await other.send("update", spec=other.spec("c.mp4", to=("rtmp://h/never",)))
            async with stage(server, tmp_path) as one:
                await other.idle()
                playing = await other.state("playing", run=2)
                assert [i.source.shown for i in playing.spec.items] == ["c.mp4"]
                assert [t.url for t in one.of(other.restream)[-1].targets] == ["rtmp://127.0.0.1/live/x"]
                await at.state("stopped")
                (warned,) = [b for c, b in await at.events() if c == "warned"]
        assert (warned["text"], warned["at_ms"]) == ("The command stop changed nothing: it is stopped", late.at_ms)
        assert (warned["subscription"], warned["refused"]) == (told.model_dump(), late.command)


async def set_for(at: Desk, name: str) -> int | None:
    """Tell when a schedule of a restream is due."""
    try:
        found = await at.js.get_last_msg(SCHEDULES, schedule_subject(at.account, f"restream-{name}-{at.restream}"))
    except NotFoundError:
        return None
    return int(json.loads(found.data or b"")["at_ms"])


async def test_schedules_are_set_moved_and_cancelled(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as at, stage(nats, tmp_path):
        start, end = CLOCK.now_ms() + 600_000, CLOCK.now_ms() + 1_200_000
        await at.send("start", spec=at.spec(start_ms=start, end_ms=end))
        await at.idle()
        assert [await set_for(at, "begin"), await set_for(at, "finish")] == [start, end]
        await at.send("update", spec=at.spec("c.mp4", start_ms=start + 1, end_ms=end + 1))
        await at.idle()
        assert [await set_for(at, "begin"), await set_for(at, "finish")] == [start + 1, end + 1]
        await at.send("stop")
        await at.idle()
        assert [await set_for(at, "begin"), await set_for(at, "finish")] == [None, None]
        assert await at.told() == [(1, "scheduled"), (1, "stopped")]


async def test_start_and_end_by_the_clock_with_everything_restarted(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        settings = settings_for(server, tmp_path)
        async with desk(server) as at, desk(server) as other, desk(server) as missed:
            async with stage(server, tmp_path, "one"):
                now = CLOCK.now_ms()
                await at.send("start", spec=at.spec(start_ms=now + 600_000, end_ms=now + 900_000))
                await other.send("start", spec=other.spec(start_ms=now + 1500))
                await other.send("stop")
                await missed.send("start", spec=missed.spec(start_ms=now + 1500, end_ms=now + 2000))
                start, lasts = CLOCK.now_ms() + 5000, 12_000  # a slow machine sees it play
                await at.send("update", spec=at.spec("c.mp4", start_ms=start, end_ms=start + lasts))
                await missed.idle()
                server.kill()
                await asyncio.to_thread(server.start)
                await missed.send("pause")  # nothing to pause
                await missed.idle()
                await missed.state("scheduled")  # nobody acts on schedules yet
            async with stage(server, tmp_path, "two") as two:
                with child(settings, tmp_path / "log", "services.scheduler"):
                    await missed.state("ended")
                    playing = await at.state("playing")
                with child(settings, tmp_path / "log", "services.scheduler"):
                    ended = await at.state("ended")
                assert (await other.record()).state == "stopped"
                assert (await begun(two, at)).stopped
                assert [i.source.shown for i in playing.spec.items] == ["c.mp4"]
                late = (playing.started_ms or 0) - start, (ended.finished_ms or 0) - start - lasts
                assert min(late) >= 0
                print("late by ms:", late)


@pytest.mark.parametrize("state", ["stopped", "playing"])
@pytest.mark.parametrize("verb", ["start", "resume"])
async def test_a_run_that_was_not_told_yet_is_told_before_the_next_one(
    nats: NatsServer, tmp_path: Path, verb: Any, state: Any
) -> None:
    """Whoever applied the command before died ahead of its events; the next command comes at once."""
    async with desk(nats) as at:
        now = CLOCK.now_ms()
        untold = tuple(StateNews(number=now + n, state=s, at_ms=now) for n, s in enumerate(("starting", state)))
        record = RestreamRecord(
            account=at.account, restream=at.restream, spec=at.spec(), state=state, created_ms=now, changed_ms=now,
            finished_ms=now if state == "stopped" else None, number=now + 1, untold=untold,
        )  # fmt: skip
        await at.records.create(at.key, record)
        await at.send(verb, spec=at.spec("c.mp4"))
        goes_on = (verb, state) == ("resume", "playing")  # the same run, with a target more
        async with stage(nats, tmp_path):
            await at.state("playing", run=1 if goes_on else 2)
            await at.idle()
        first = [(1, "starting"), (1, state), *([(1, "stopped")] if (verb, state) == ("start", "playing") else [])]
        assert await at.told() == [*first, *([] if goes_on else [(2, "starting"), (2, "playing")])]


class Meanwhile:
    """An outbox that takes all, and has something else happen while it takes the first event."""

    def __init__(self, happens: Callable[[], Awaitable[object]]) -> None:
        self.happens = happens
        self.told: list[str] = []

    async def emit(self, event: RestreamStateChanged) -> None:
        self.told.append(event.state)
        if len(self.told) == 1:
            await self.happens()

    async def schedule(self, *_: object) -> None:
        pass

    async def unschedule(self, *_: object) -> None:
        pass


async def test_what_comes_up_while_events_are_told_is_told_too(nats: NatsServer) -> None:
    """Who wrote it has died since: nobody else tells it for a while."""
    async with desk(nats) as at:
        now = CLOCK.now_ms()
        record = RestreamRecord(
            account=at.account, restream=at.restream, spec=at.spec(), state="starting", created_ms=now, changed_ms=now
        )
        await at.records.create(at.key, entered(record, "starting", now))

        def later(old: RestreamRecord | None) -> RestreamRecord:
            assert old is not None
            return entered(old, "playing", now)

        outbox = Meanwhile(lambda: at.records.change(at.key, later))
        await RestreamRecords(at.records, outbox, CLOCK).keep(at.key)  # type: ignore[arg-type]  # an outbox that other work passes
        assert outbox.told == ["starting", "playing"]
        assert (await at.record()).untold == ()


async def test_a_live_event_is_switched_to_while_it_is_live(nats: NatsServer, tmp_path: Path) -> None:
    event = "e" * 32
    async with desk(nats) as at, stage(nats, tmp_path) as one:

        async def job(state: Any, session: str) -> None:
            record = JobRecord(
                account=at.account, event=event, state=state, session=session, created_ms=1, changed_ms=1,
                stream_key="-", passphrase="-",
            )  # fmt: skip
            await at.jobs.change(f"{at.account}.{event}", lambda _: record)

        await at.send("start", spec=at.spec(live=LiveInsert(event=event)))
        await at.state("playing")
        playout = await begun(one, at)
        recording = Session(event, session="1" * 32)
        await job("processing", "1" * 32)
        await send(at.js, recording.segment(0).model_copy(update={"account": at.account}))
        calls = [f"live {event} True"]
        await called(playout, *calls)
        recording.session = "2" * 32  # the encoder came back
        await send(at.js, recording.segment(0).model_copy(update={"account": at.account}))
        await job("processing", "2" * 32)
        calls += ["live None True", f"live {event} True"]
        await called(playout, *calls)
        await job("disconnected", "2" * 32)
        await called(playout, *calls, "live None True")


@pytest.mark.parametrize("verb", ["stop", "update", "pause", "seek"])
async def test_a_command_for_nobody_is_done_with(nats: NatsServer, tmp_path: Path, verb: Any) -> None:
    async with desk(nats) as at, stage(nats, tmp_path):
        needs = {"update": {"spec": at.spec()}, "seek": {"item": 0}}
        await at.send(verb, **needs.get(verb, {}))
        await at.idle()
        assert await at.records.get(at.key) is None
        assert await at.events() == []
