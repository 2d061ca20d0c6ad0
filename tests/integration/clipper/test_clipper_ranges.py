"""A clip in work holds what it is cut from, from its beginning to its exact file or its end, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.clipper import watching
from services.clipper.ranges import LIFE_MS, SourceRanges
from services.clipper.state import begun
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCancel, ClipCreate, ClipDelete, ClipRecord, VodState
from shared.messages.ranges import AfterLive, SourceRange
from shared.messages.sessions import EventClock, clock_key
from shared.recording.needed import ALL_MS, BEFORE_MS, BEHIND_MS
from shared.runtime.clock import SystemClock
from tests.support.clipper_desk import ACCOUNT, Desk, check, desk, frames, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import apply, child, idle, new_id, send


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Six seconds: frames 0 to 179 in three segments."""
    return record(Spec(), tmp_path_factory.mktemp("first"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=50))


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    """An event that has a first frame."""
    async with desk(nats, tmp_path) as found:
        clock = EventClock(first_frame_ms=found.begun_ms)
        await Bucket(lambda: found.js, "sessions", EventClock).create(clock_key(ACCOUNT, found.event), clock)
        yield found


async def held(at: Desk) -> dict[str, tuple[int, int]]:
    """Return what the event's clips hold, in ms since its first frame."""
    found = await Bucket(lambda: at.js, "clip_ranges", SourceRange).items(f"{ACCOUNT}.{at.event}")
    return {
        one.value.clip: (one.value.from_ms - at.begun_ms, one.value.to_ms - at.begun_ms)
        for one in found
        if one.key == f"{ACCOUNT}.{at.event}.{one.value.clip}"
    }


async def begins(at: Desk, *orders: ClipCreate) -> None:
    """Send orders, each twice, and wait until each clip has begun."""
    for order in orders:
        await send(at.js, order, times=2)
    for order in orders:
        await until(lambda clip=order.clip: at.record(clip))


async def known(at: Desk, state: VodState, **changes: Any) -> ClipRecord:
    """Write a clip's record as a clipper that was killed left it, and the range that it held."""
    found = begun(at.order(1, 2, **changes), state, 0)
    await Bucket(lambda: at.js, "clips", ClipRecord).create(f"{ACCOUNT}.{found.clip}", found)
    await SourceRanges(lambda: at.js, SystemClock()).hold(found.model_copy(update={"state": "processing"}))
    return found


async def test_a_clip_that_waits_holds_its_range_by_either_clock_until_it_is_cancelled(at: Desk) -> None:
    async with serving(at, "clipper", "scheduler"):
        await at.job("processing")
        stream, wall = at.order(1, 600, wait=True), at.order(2, 700, clock="wall", wait=True)
        killed = begun(wall, "waiting", 0)  # before it could write the range
        await Bucket(lambda: at.js, "clips", ClipRecord).create(f"{ACCOUNT}.{wall.clip}", killed)
        await begins(at, stream, wall)
        expected = {
            stream.clip: (1000 - BEFORE_MS, 600_000 + BEHIND_MS), wall.clip: (2000 - BEFORE_MS, 700_000 + BEHIND_MS),
        }  # fmt: skip
        await until(lambda: same(at, expected))
        for order in (stream, wall):
            sequence = await send(at.js, ClipCancel(account=ACCOUNT, clip=order.clip, at_ms=0), times=2)
            await until(lambda s=sequence: idle(at.js, "clipper-cancel", s))
            expected.pop(order.clip)
            assert await held(at) == expected
        sequence = await send(at.js, stream, times=2)  # again, when it has ended
        await until(lambda: idle(at.js, "clipper-create", sequence))
        assert await held(at) == {}


async def same(at: Desk, expected: dict[str, tuple[int, int]]) -> bool:
    return await held(at) == expected


async def test_a_clip_holds_its_range_until_it_is_cut_exactly_and_not_while_it_is_sent(
    at: Desk, first: Recording
) -> None:
    segments = at.session(first)
    await at.job("processing")
    await at.publishing(segments)
    await at.announce(segments[:2])
    order = at.order(1, 5)
    async with serving(at, "clipper"):
        await begins(at, order)

        async def refining() -> bool:
            found = await at.record(order.clip)
            return found is not None and found.file is not None

        await until(refining)  # the fast file is there, the exact one waits for the last segment
        assert list(await held(at)) == [order.clip]
        await at.announce(segments[2:])
        await at.publishing(segments, ended=True)
        await until(lambda: same(at, {}))
        sent = await at.record(order.clip)
        assert sent is not None
        assert sent.state == "processing", "nobody has taken it to its destination yet"
    at.store.delete(segments[0].key)  # an export reads the clip's own file
    async with serving(at):
        await check(at, await at.ended(order.clip), frames(1, 5))
        for times in (order, ClipDelete(account=ACCOUNT, clip=order.clip, at_ms=0)):
            await send(at.js, times, times=2)
        await until(lambda: gone(at, order.clip))
    assert await held(at) == {}


ASKED = (
    {"clock": "stream", "start": "1", "end": "5"},
    {"clock": "timecode", "start": "00:00:01:00", "end": "00:00:05:00"},
    {"clock": None, "duration": "4"},
)


@pytest.mark.parametrize("asked", ASKED)
async def test_a_clip_that_was_ordered_with_its_job_holds_everything_until_its_range_is_known(
    nats: NatsServer, tmp_path: Path, asked: dict[str, str | None]
) -> None:
    """Its command comes before anything is published. Each command is told again after the clip has its range."""
    async with desk(nats, tmp_path) as at, serving(at, "clipper"):
        await at.job("standby")
        wish = AfterLive.model_validate(asked | {"names": ("start", "end", "duration")})
        first = at.order(0, 0, after_live=wish)
        await begins(at, first)
        await until(lambda: same(at, {first.clip: (-at.begun_ms, ALL_MS - at.begun_ms)}))
        firsts = EventClock(first_frame_ms=at.begun_ms)
        await Bucket(lambda: at.js, "sessions", EventClock).create(clock_key(ACCOUNT, at.event), firsts)
        settled = at.order(1, 5, settled=True).model_copy(update={"clip": first.clip})
        await send(at.js, settled, times=2)
        expected = {first.clip: (1000 - BEFORE_MS, 5000 + BEHIND_MS)}
        await until(lambda: same(at, expected))
        sequence = await send(at.js, first, times=2)
        await until(lambda: idle(at.js, "clipper-create", sequence))
        assert await held(at) in (expected, {})


async def gone(at: Desk, clip: str) -> bool:
    return await at.record(clip) is None


async def test_a_clip_that_fails_and_one_without_a_file_hold_nothing(at: Desk, first: Recording) -> None:
    async with serving(at, "clipper"):
        await at.job("finished")
        await at.announce(at.session(first))
        nothing, instant = at.order(100, 110), at.order(1, 2, instant=True)
        await begins(at, nothing, instant)
        assert (await at.ended(nothing.clip)).state == "failed"
        assert (await at.ended(instant.clip)).state == "finished"
        assert await held(at) == {}


async def test_a_killed_clipper_leaves_the_range_held_for_the_one_that_goes_on(
    at: Desk, first: Recording, tmp_path: Path
) -> None:
    lanes = ("clipper-create", "clipper-refine")
    for lane in lanes:
        await apply(at.js, lane, timedelta(seconds=1))
    await at.announce(at.session(first))
    order = at.order(1, 4)
    await send(at.js, order)
    for _ in range(2):  # in its fast cut, and in its exact one
        with child(at.settings, tmp_path / "log", "tests.support.clipper_child", str(tmp_path)) as process:
            assert await asyncio.to_thread(process.wait, 60) == -9
        assert list(await held(at)) == [order.clip]
    with child(at.settings, tmp_path / "log", "tests.support.clipper_child", str(tmp_path)):
        await until(lambda: same(at, {}), 60)
    for lane in lanes:
        await apply(at.js, lane, timedelta(seconds=30))


async def test_ranges_that_were_left_behind_go_when_a_clipper_starts(at: Desk) -> None:
    ended, working, deleted = await known(at, "cancelled"), await known(at, "processing"), await known(at, "finished")
    await Bucket(lambda: at.js, "clips", ClipRecord).delete(f"{ACCOUNT}.{deleted.clip}")
    assert set(await held(at)) == {ended.clip, working.clip, deleted.clip}
    async with serving(at, "clipper"):
        await until(lambda: only(at, working.clip))
    ranges = SourceRanges(lambda: at.js, SystemClock())
    assert await ranges.sweep() == 0
    await ranges.release(working)
    await ranges.release(working)
    assert await held(at) == {}


async def only(at: Desk, clip: str) -> bool:
    return list(await held(at)) == [clip]


async def test_a_clip_that_never_ends_holds_nothing_for_ever(at: Desk) -> None:
    await known(at, "processing", requested_ms=SystemClock().now_ms() - LIFE_MS)
    young = await known(at, "processing", requested_ms=SystemClock().now_ms() - LIFE_MS // 2)
    assert list(await held(at)) == [young.clip]
    config = (await at.js.stream_info("KV_clip_ranges")).config
    assert config.max_age == LIFE_MS // 1000


async def test_a_clip_of_an_event_without_a_first_frame_holds_nothing(at: Desk) -> None:
    found = begun(at.order(1, 2).model_copy(update={"event": new_id()}), "processing", 0)
    await SourceRanges(lambda: at.js, SystemClock()).hold(found)
    assert await Bucket(lambda: at.js, "clip_ranges", SourceRange).items(f"{ACCOUNT}.{found.request.event}") == []
