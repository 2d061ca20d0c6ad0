"""Reels from order to delivery: one clip of ranges of several recordings, and everything that may come in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper import watching
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCancel, ClipRecord
from shared.messages.live import JobStateChanged
from shared.messages.ranges import SourceRange
from shared.messages.sessions import EventClock, clock_key
from shared.runtime.clock import SystemClock
from tests.support.clipper_desk import ACCOUNT, Desk, check, desk, frames, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import apply, child, idle, send


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Six seconds: frames 0 to 179 in three segments."""
    return record(Spec(), tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Four seconds: frames from 270 on; the same settings."""
    return record(Spec(seconds=Fraction(4), first_number=270), tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Four seconds of HEVC: frames from 600 on."""
    return record(Spec("hevc", seconds=Fraction(4), first_number=600), tmp_path_factory.mktemp("other"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=50))


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    """An event that has a first frame."""
    async with desk(nats, tmp_path) as found:
        await begin(found)
        yield found


async def begin(at: Desk) -> Desk:
    clock = EventClock(first_frame_ms=at.begun_ms)
    await Bucket(lambda: at.js, "sessions", EventClock).create(clock_key(ACCOUNT, at.event), clock)
    return at


async def beside(at: Desk) -> Desk:
    """Return another event in the same stack."""
    return await begin(Desk(at.js, at.settings))


async def held(*desks: Desk) -> list[tuple[str, str]]:
    found = []
    for one in desks:
        bucket = Bucket(lambda at=one: at.js, "clip_ranges", SourceRange)
        found += [(stored.key, stored.value.clip) for stored in await bucket.items(f"{ACCOUNT}.{one.event}")]
    return found


async def test_ranges_of_two_jobs_each_message_twice(at: Desk, first: Recording, second: Recording) -> None:
    there = await beside(at)
    await at.announce(at.session(first))
    await there.announce(there.session(second))
    order = at.reel((there, 1, 3), (at, Fraction(1, 2), 2), (at, 1, Fraction(5, 2)), (there, 1, 3))
    async with serving(at):
        await send(at.js, order, times=2)
        ended = await at.ended(order.clip)
    numbers = [*range(300, 360), *frames(Fraction(1, 2), 2), *frames(1, Fraction(5, 2)), *range(300, 360)]
    file = await check(at, ended, numbers)
    assert (file.method, file.duration, ended.gaps) == ("smart", 7, ())
    assert [(one.in_point, one.out_point, one.frames) for one in file.ranges] == [
        (1, 3, 60), (Fraction(1, 2), 2, 45), (1, Fraction(5, 2), 45), (1, 3, 60),
    ]  # fmt: skip
    assert await at.told(order.clip) == ["processing", "clips.frame_accurate.ready", "finished"]
    assert await held(at, there) == []


async def test_a_range_over_a_gap_and_ranges_of_other_codecs(
    at: Desk, first: Recording, second: Recording, other: Recording
) -> None:
    there = await beside(at)
    await at.announce([*at.session(first), *at.session(second, 9000)])
    await there.announce(there.session(other))
    order = at.reel((there, 1, 2), (at, 5, 10), (there, 3, 9), (at, 9, 10))
    async with serving(at):
        await send(at.js, order)
        ended = await at.ended(order.clip)
    numbers = [*range(630, 660), *frames(5, 6), *frames(9, 10), *range(690, 720), *frames(9, 10)]
    file = await check(at, ended, numbers)
    assert "differ" in file.reason
    assert [(gap.range, gap.start, gap.duration) for gap in ended.gaps] == [(1, 6, 3)]


async def test_a_range_of_which_nothing_is_left_is_a_gap_and_all_of_them_are_a_failure(
    at: Desk, first: Recording
) -> None:
    segments = at.session(first)
    never = await beside(at)
    await at.announce(segments)
    at.store.delete(segments[1].key)
    some = at.reel((never, 0, 4), (at, 1, 3), (at, Fraction(5, 2), Fraction(7, 2)), (at, 50, 60), (at, 4, 5))
    nothing = at.reel((never, 0, 4), (at, 50, 60))
    async with serving(at):
        for order in (some, nothing):
            await send(at.js, order)
        ended, failed = await at.ended(some.clip), await at.ended(nothing.clip)
    file = await check(at, ended, [*frames(1, 2), *frames(4, 5)])
    assert [one.duration for one in file.ranges] == [0, 1, 0, 0, 1]
    assert [(gap.range, gap.start, gap.duration) for gap in ended.gaps if gap.track == "all"] == [
        (0, 0, 4), (1, 2, 1), (2, Fraction(5, 2), 1), (3, 50, 10),
    ]  # fmt: skip
    assert (failed.state, "nothing was recorded" in failed.error) == ("failed", True)


async def test_a_reel_waits_for_its_last_end_holds_every_range_and_can_be_cancelled(at: Desk, first: Recording) -> None:
    there = await beside(at)
    await at.announce(at.session(first))
    await there.job("processing")
    order = at.reel((at, 1, 2), (there, 3, 900), (at, 4, 5), wait=True)
    async with serving(at, "clipper", "scheduler"):
        await send(at.js, order, times=2)
        await until(lambda: at.record(order.clip))
        keys = [f"{ACCOUNT}.{at.event}.{order.clip}", f"{ACCOUNT}.{at.event}.{order.clip}-2"]
        keys.append(f"{ACCOUNT}.{there.event}.{order.clip}-1")

        async def all_held() -> bool:
            return await held(at, there) == [(key, order.clip) for key in keys]

        await until(all_held)
        found = await at.record(order.clip)
        assert found is not None
        assert found.state == "waiting"
        sequence = await send(at.js, ClipCancel(account=ACCOUNT, clip=order.clip, at_ms=SystemClock().now_ms()))
        await until(lambda: idle(at.js, "clipper-cancel", sequence))
        assert (await at.ended(order.clip)).state == "cancelled"
        assert await held(at, there) == []


async def test_a_reel_goes_on_when_the_job_that_it_waits_for_ends(at: Desk, first: Recording) -> None:
    there = await beside(at)
    await at.announce(at.session(first))
    await there.job("processing")
    await there.announce(there.session(first))
    order = at.reel((there, 4, 900), (at, 1, 2), wait=True)
    async with serving(at, "clipper", "exporter", "scheduler"):
        await send(at.js, order)

        async def waits() -> ClipRecord | None:
            found = await at.record(order.clip)
            return found if found and found.state == "waiting" else None

        await until(waits)
        await there.job("finished")
        await send(
            there.js,
            JobStateChanged(
                account=ACCOUNT, event=there.event, state="finished", previous="processing", revision=2, at_ms=0
            ),
        )
        ended = await at.ended(order.clip)
    await check(at, ended, [*frames(4, 6), *frames(1, 2)])


async def test_a_cancelled_job_takes_no_reel_whose_range_of_it_lies_in_the_past(at: Desk, first: Recording) -> None:
    there = await beside(at)
    await at.announce(at.session(first))
    await there.announce(there.session(first))
    await there.job("processing")
    order = at.reel((at, 1, 2), (there, 4, 900), waits={there.event})
    async with serving(at, "clipper", "exporter", "scheduler"):
        await at.job("cancelled")
        await send(at.js, order)

        async def waits() -> bool:
            found = await at.record(order.clip)
            return found is not None and found.state == "waiting"

        await until(waits)
        for job, state in ((at, "cancelled"), (there, "finished")):
            await job.job(state)
            told = {"account": ACCOUNT, "event": job.event, "state": state, "previous": "processing"}
            await send(job.js, JobStateChanged.model_validate(told | {"revision": 2, "at_ms": 0}))
        ended = await at.ended(order.clip)
    await check(at, ended, [*frames(1, 2), *frames(4, 6)])


async def test_a_killed_clipper_makes_one_reel(at: Desk, first: Recording, tmp_path: Path) -> None:
    for lane in ("clipper-create", "clipper-refine"):
        await apply(at.js, lane, timedelta(seconds=1))
    await at.announce(at.session(first))
    order = at.reel((at, 4, 5), (at, 1, 3))
    await send(at.js, order)
    with child(at.settings, tmp_path / "log", "tests.support.clipper_child", str(tmp_path)) as process:
        assert await asyncio.to_thread(process.wait, 60) == -9
    assert len(await held(at)) == 2
    with child(at.settings, tmp_path / "log", "tests.support.clipper_child", str(tmp_path)):
        async with serving(at, "exporter"):
            await check(at, await at.ended(order.clip), [*frames(4, 5), *frames(1, 3)])
    for lane in ("clipper-create", "clipper-refine"):
        await apply(at.js, lane, timedelta(seconds=30))
    assert (await at.told(order.clip)).count("finished") == 1
