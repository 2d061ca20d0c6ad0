"""Who holds a run of a restream: hand-over, silence, death, loss of the lease, and no broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from services.restreamer.leases import Me
from services.restreamer.playout import Ended, Warned
from services.restreamer.resuming import mark
from services.scheduler.app import build as scheduler
from shared.broker.kv import Stored
from shared.messages.restreams import (
    FLICKS,
    PlaylistCursor,
    PlayoutRecord,
    RestreamRecord,
    StateNews,
)
from tests.support.nats import NatsServer, nats_server
from tests.support.restream_desk import CLOCK, Desk, begun, desk, stage
from tests.support.shared_bus import served, settings_for
from tests.support.webhook_stack import eventually


async def test_a_clean_stop_hands_over_at_once(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with desk(server) as at, desk(server) as other, contextlib.AsyncExitStack() as stack:
            one = await stack.enter_async_context(stage(server, tmp_path, "one", restreams=1))
            await at.send("start", spec=at.spec())
            await at.state("playing")
            async with stage(server, tmp_path, "two", restreams=1) as two:
                await other.send("start", spec=other.spec())  # one has no room
                await other.held("two")
                await other.send("stop")
                await other.held("")
                first = await begun(one, at)
                await stack.aclose()
                await at.held("two")
                second = await begun(two, at)
                assert first.stopped
                assert second.begun == first.snapshot().cursor
                assert [c for c, _ in await at.events()].count("file.started") == 1, "the same file goes on"
                assert await at.told() == [(1, "starting"), (1, "playing")]


async def test_a_holder_that_is_silent_or_dead_is_followed(nats: NatsServer, tmp_path: Path) -> None:
    """A silent one after 3 s, one of this host whose process is no more at once: playing, paused, or over by now."""
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    here = Me.here("").host
    holders = {
        "elsewhere": ("far", os.getpid()), "killed": (here, gone.pid), "paused": (here, gone.pid),
        "stopped": (here, gone.pid),
    }  # fmt: skip
    began, took = {}, {}
    async with desk(nats) as alive, contextlib.AsyncExitStack() as stack:
        desks = {name: await stack.enter_async_context(desk(nats)) for name in holders}
        async with stage(nats, tmp_path, "zero", restreams=0):
            for at in (alive, *desks.values()):
                await at.send("start", spec=at.spec("a.mp4", "b.mp4"))
                await at.state("starting")
            await desks["paused"].send("pause")
            await desks["stopped"].send("stop")
            await alive.idle()
        place = PlaylistCursor(item=1, loop=3, at=7 * FLICKS)
        for name, (host, pid) in holders.items():
            at = desks[name]
            held = PlayoutRecord(
                account=at.account, restream=at.restream, run=1, holder=name, host=host, pid=pid, cursor=place, at_ms=1,
                source=mark(at.vault, at.item("b.mp4").source),
            )  # fmt: skip
            await at.playouts.create(at.key, held)
        lives = held.model_copy(update={"account": alive.account, "restream": alive.restream, "host": "far"})
        revision = await alive.playouts.create(alive.key, lives)
        async with stage(nats, tmp_path, "one") as one:
            assert one.of(desks["stopped"].restream) == []
            await desks["stopped"].send("resume")
            for name in ("killed", "paused", "stopped", "elsewhere"):
                began[name] = CLOCK.monotonic_ns()
                while one.of(desks[name].restream) == []:
                    beat = lives.model_copy(update={"at_ms": CLOCK.now_ms()})
                    revision = (await alive.playouts.replace(Stored(alive.key, lives, revision), beat)).revision
                    await asyncio.sleep(0.1)
                took[name] = (CLOCK.monotonic_ns() - began[name]) // 1_000_000
                assert one.of(desks[name].restream)[0].begun == place
                assert one.of(desks[name].restream)[0].now.paused == (name == "paused")
            assert one.of(alive.restream) == [], "a holder that writes is left alone"
            await desks["paused"].send("resume")
            await desks["paused"].state("playing")
    print("took over after ms:", took)


async def test_a_holder_that_lost_its_run_stops_and_writes_nothing_more(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats) as at, stage(nats, tmp_path) as one:
        await at.send("start", spec=at.spec())
        await at.state("playing")
        playout = await begun(one, at)

        def taken(old: PlayoutRecord | None) -> PlayoutRecord | None:
            return old.model_copy(update={"holder": "thief", "host": "far"}) if old else None

        await at.playouts.change(at.key, taken)

        async def stopped() -> bool:
            return playout.stopped

        await eventually(stopped)
        assert (await at.playout()).holder == "thief"


async def test_the_playout_goes_on_without_the_broker(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with desk(server) as at, desk(server) as other, stage(server, tmp_path, "one") as one:
            for each in (at, other):
                await each.send("start", spec=each.spec())
                await each.state("playing")
            playout, ended = await begun(one, at), await begun(one, other)
            async with stage(server, tmp_path, "two") as two:
                before = await at.playout()
                server.kill()
                ended.report(Warned("said while the broker was away"))
                ended.report(Ended())
                await asyncio.sleep(2)  # longer than a holder's write waits
                await asyncio.to_thread(server.start)

                async def written() -> bool:
                    return (await at.playout()).at_ms > before.at_ms + 2000

                await eventually(written, 60)
                assert (await at.playout()).holder == "one"
                assert not playout.stopped
                assert (await at.record()).state == "playing"
                await other.state("ended")
                await other.held("")
                assert "warned" in [channel for channel, _ in await other.events()]
                assert two.played == []


async def test_no_instance_plays_more_than_it_has_room_for(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server:
        async with contextlib.AsyncExitStack() as stack:
            desks = [await stack.enter_async_context(desk(server)) for _ in range(5)]
            stages = [
                await stack.enter_async_context(stage(server, tmp_path, name, restreams=2)) for name in ("one", "two")
            ]
            for at in desks:
                await at.send("start", spec=at.spec())
            await desks[0].idle()

            async def four_play() -> list[Desk]:
                playing = [at for at in desks if (await at.record()).state == "playing"]
                return playing if len(playing) == 4 else []

            playing = await eventually(four_play)
            assert [len(of.played) for of in stages] == [2, 2]
            (left,) = (at for at in desks if at not in playing)
            assert (await left.record()).state == "starting"
            await playing[0].send("stop")
            await left.state("playing")


async def test_what_a_dead_writer_left_is_done(nats: NatsServer, tmp_path: Path) -> None:
    """Its event is published; a schedule that is not there is set, and acts at once. What is long over is forgotten."""
    async with desk(nats) as at, desk(nats) as old, desk(nats) as lately:
        for each, days in ((old, 31), (lately, 29)):
            over_ms = CLOCK.now_ms() - days * 86_400_000
            gone = RestreamRecord(
                account=each.account, restream=each.restream, spec=each.spec(), state="ended", created_ms=1,
                changed_ms=over_ms, finished_ms=over_ms,
            )  # fmt: skip
            await each.records.create(each.key, gone)
        spec = at.spec(start_ms=1)
        news = StateNews(number=5, state="scheduled", at_ms=5)
        record = RestreamRecord(
            account=at.account, restream=at.restream, spec=spec, state="scheduled", created_ms=1, changed_ms=1,
            number=5, untold=(news,),
        )  # fmt: skip
        await at.records.create(at.key, record)
        async with stage(nats, tmp_path), served("scheduler", scheduler, settings_for(nats, tmp_path)):
            await at.state("playing")

            async def forgotten() -> bool:
                return await old.records.get(old.key) is None

            await eventually(forgotten)
            assert await old.records.items(old.account) == []
        assert await at.told() == [(1, "scheduled"), (1, "starting"), (1, "playing")]
        assert (await at.record()).untold == ()
        assert await lately.record()
