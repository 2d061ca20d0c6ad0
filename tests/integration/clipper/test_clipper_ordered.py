"""Clips that were ordered with their job: they wait for its end, are made once, and go with a cancelled job."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.clipper import watching
from shared.broker import middleware
from shared.messages.clips import ClipCancel, ClipCreate, ClipRecord
from shared.messages.live import JobState, JobStateChanged
from shared.messages.ranges import AfterLive, Selection
from shared.runtime.clock import SystemClock
from tests.support.clipper_desk import ACCOUNT, Desk, check, desk, frames, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import send

NAMES = ("stream_start_time", "stream_end_time", "duration")


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Six seconds: frames 0 to 179 in three segments."""
    return record(Spec(), tmp_path_factory.mktemp("stream"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=50))


def ordered(at: Desk, start: int = 0, end: int = 0, **more: Any) -> ClipCreate:
    """Return the command of a clip that was ordered with its job."""
    asked = AfterLive(clock="stream", start=str(start), end=str(end), names=NAMES)
    return at.order(start, end, live=True, after_live=asked, **more)


def settled(order: ClipCreate, start: int, end: int, **more: Any) -> ClipCreate:
    """Return what the gateway sends when the job has ended."""
    selection = Selection(clock="stream", start=Fraction(start), end=Fraction(end))
    now = {"after_live": None, "settled": True, "live": False, "requested_ms": SystemClock().now_ms()}
    return order.model_copy(update=now | {"selection": selection} | more)


async def enters(at: Desk, state: JobState) -> None:
    """Move the job, and say so twice."""
    await at.job(state)
    now = SystemClock().now_ms()
    event = JobStateChanged(account=ACCOUNT, event=at.event, state=state, at_ms=now, revision=2)
    await send(at.js, event, times=2)


async def in_state(at: Desk, clip: str, state: str) -> ClipRecord:
    async def look() -> ClipRecord | None:
        found = await at.record(clip)
        return found if found and found.state == state else None

    found: ClipRecord = await until(look)
    return found


async def test_it_waits_for_its_job_and_is_made_once(nats: NatsServer, tmp_path: Path, stream: Recording) -> None:
    """The clipper is killed and started again while the clip waits; every message comes twice."""
    async with desk(nats, tmp_path) as at:
        await at.job("standby")
        order = ordered(at, 1, 3)
        async with serving(at):
            await send(at.js, order, times=2)
            waiting = await in_state(at, order.clip, "waiting_finish_live")
            assert waiting.file is None
        async with serving(at):
            segments = at.session(stream)
            await at.publishing(segments, ended=True)
            await at.announce(segments)
            await enters(at, "finished")
            await send(at.js, settled(order, 1, 3), times=2)
            await send(at.js, order.model_copy(update={"due_ms": 1}))  # the first command, again, late
            await check(at, await at.ended(order.clip), frames(1, 3))
        told = await at.told(order.clip)
        assert told[0] == "waiting_finish_live"
        assert [told.count(state) for state in ("processing", "finished", "clips.frame_accurate.ready")] == [1, 1, 1]


async def test_the_range_may_come_before_the_order(nats: NatsServer, tmp_path: Path, stream: Recording) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("finished")
        segments = at.session(stream)
        await at.publishing(segments, ended=True)
        await at.announce(segments)
        order = ordered(at, 0, 0)
        await send(at.js, settled(order, 2, 4))
        await send(at.js, order)
        await check(at, await at.ended(order.clip), frames(2, 4))
        assert "waiting_finish_live" not in await at.told(order.clip)


async def test_a_range_that_cannot_be_had_fails_the_clip(nats: NatsServer, tmp_path: Path) -> None:
    why = "stream_start_time: the range begins after the stream's end"
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("finished")
        order = ordered(at, 100, 200)
        await send(at.js, order)
        await send(at.js, settled(order, 0, 0, refused=why), times=2)
        ended = await at.ended(order.clip)
        assert (ended.state, ended.error) == ("failed", why)
        assert await at.told(order.clip) == ["waiting_finish_live", "failed"]


@pytest.mark.parametrize("state", ["cancelling", "cancelled"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_cancelled_job_drops_what_was_not_begun(
    nats: NatsServer, tmp_path: Path, stream: Recording, state: JobState, late: bool
) -> None:
    """Clips ordered with it, and those whose end is still to come; one that has begun is made all the same."""
    async with desk(nats, tmp_path) as at, serving(at, "clipper", "exporter", "scheduler"):
        await at.job("processing")
        segments = at.session(stream)
        await at.publishing(segments)
        await at.announce(segments)
        begun, first = at.order(1, 2), ordered(at, 1, 3)
        second = at.order(1, 3600, clock="wall", wait=True, live=True)
        await send(at.js, begun)
        if not late:
            await send(at.js, first)
            await send(at.js, second)
            await in_state(at, first.clip, "waiting_finish_live")
            await in_state(at, second.clip, "waiting")
        await enters(at, state)
        if late:
            await send(at.js, first, times=2)
            await send(at.js, second, times=2)
        for order in (first, second):
            ended = await at.ended(order.clip)
            assert (ended.state, ended.file) == ("cancelled", None)
            assert ended.error == "its live job was cancelled before the clip was begun"
            assert (await at.told(order.clip))[-1] == "cancelled"
        await at.publishing(segments, ended=True)
        await check(at, await at.ended(begun.clip), frames(1, 2))


async def test_its_client_may_cancel_it(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("standby")
        order = ordered(at, 1, 3)
        await send(at.js, order)
        await in_state(at, order.clip, "waiting_finish_live")
        await send(at.js, ClipCancel(account=ACCOUNT, clip=order.clip, at_ms=SystemClock().now_ms()))
        assert (await at.ended(order.clip)).state == "cancelled"
        await enters(at, "finished")
        await send(at.js, settled(order, 1, 3))
        assert (await at.ended(order.clip)).state == "cancelled"
        assert await at.told(order.clip) == ["waiting_finish_live", "cancelled"]
