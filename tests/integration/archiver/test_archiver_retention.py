"""What has passed retention goes: bytes, index and record, wherever the archiver is killed on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.archiver.retention import touched
from services.clipper.ranges import SourceRanges
from services.gateway.domain.locks import Locks
from shared.errors import Unavailable
from shared.messages.media import SegmentWritten
from shared.messages.recordings import RecordingRecord
from shared.recording.hours import HOUR_MS, hour_of
from tests.support.archive import Archive, Killed, archive, clip_in_work, parts, put_media
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish

FIRST_HOUR = hour_of(HOUR_START_MS)
KEEP = timedelta(hours=2)


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path, KEEP) as running:
        yield running


async def recorded(archiver: Archive, event: str) -> list[SegmentWritten]:
    """Three hours of 10 segments each: one session through the first two, another in the third."""
    first = Session(event, duration=360 * 90_000)
    second = Session(event, duration=360 * 90_000, origin_ms=2 * HOUR_MS)
    segments = [*first.segments(20), *second.segments(10)]
    put_media(archiver.store, segments)
    await publish(archiver.js, segments)
    archiver.clock.at_ms = HOUR_START_MS + 3 * HOUR_MS
    await archiver.job(event)
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    return segments


async def test_an_hour_goes_with_its_bytes_and_its_session_with_the_last_hour(archiver: Archive) -> None:
    event = new_event()
    segments = await recorded(archiver, event)
    await archiver.retention.expire(ACCOUNT, event)
    record = await archiver.record(event)
    assert record is not None
    assert [hour.hour - FIRST_HOUR for hour in record.hours] == [1, 2]
    left = [f"live/{event}/{key}" for key in archiver.objects(event)]
    assert [segment.key in left for segment in segments] == [False] * 10 + [True] * 20
    assert segments[0].init_key in left  # the second hour needs it
    archiver.clock.at_ms += HOUR_MS
    await archiver.retention.expire(ACCOUNT, event)
    left = [f"live/{event}/{key}" for key in archiver.objects(event)]
    assert segments[0].init_key not in left
    assert segments[-1].init_key in left
    assert [segment.key in left for segment in segments] == [False] * 20 + [True] * 10
    expired = await archiver.announced("recordings.range.expired", event)
    assert [(e["hour"] - FIRST_HOUR, e["segments"]) for e in expired] == [(0, 10), (1, 10)]


async def test_a_locked_range_keeps_its_hours_until_it_is_unlocked(archiver: Archive) -> None:
    event = new_event()
    await recorded(archiver, event)
    locks = Locks(archiver.service.js)
    middle_ms = HOUR_START_MS + HOUR_MS + HOUR_MS // 2
    await locks.add(ACCOUNT, event, middle_ms, middle_ms + 1000)
    archiver.clock.at_ms += 10 * HOUR_MS
    for _ in range(2):
        await archiver.sweeper.sweep()
        record = await archiver.record(event)
        assert record is not None
        assert [hour.hour - FIRST_HOUR for hour in record.hours] == [1]
        assert touched(await archiver.records.spared(ACCOUNT, event), record.hours[0])
    await locks.remove(ACCOUNT, event, 0, 1 << 60)
    await archiver.sweeper.sweep()
    record = await archiver.record(event)
    assert record is not None
    assert record.hours == ()


async def test_what_a_clip_in_work_needs_stays_until_it_is_cut_or_over(archiver: Archive) -> None:
    event, other = new_event(), new_event()
    for one in (event, other):
        await recorded(archiver, one)
    ranges = SourceRanges(archiver.service.js, archiver.clock)
    middle_ms = HOUR_START_MS + HOUR_MS + HOUR_MS // 2
    clips = [await clip_in_work(archiver, event, middle_ms, middle_ms + 1000) for _ in range(2)]
    # the keyframe before its in point may lie in the hour before
    clips.append(await clip_in_work(archiver, event, HOUR_START_MS + HOUR_MS + 60_000, middle_ms))
    archiver.clock.at_ms += 10 * HOUR_MS

    async def left(event: str) -> list[int]:
        await archiver.sweeper.sweep()
        record = await archiver.record(event)
        assert record is not None
        return [hour.hour - FIRST_HOUR for hour in record.hours]

    assert await left(event) == [0, 1]
    assert await left(other) == [], "of another event"
    await ranges.release(clips[2])
    assert await left(event) == [1]
    await ranges.hold(clips[0].model_copy(update={"state": "cancelled"}))
    assert await left(event) == [1], "the other clip is still in work"
    await Locks(archiver.service.js).add(ACCOUNT, event, middle_ms, middle_ms + 1000)
    await ranges.release(clips[1])
    assert await left(event) == [1], "and it is locked"
    await Locks(archiver.service.js).remove(ACCOUNT, event, 0, 1 << 60)
    assert await left(event) == []


async def test_numbers_go_on_after_everything_has_expired(archiver: Archive) -> None:
    event = new_event()
    await recorded(archiver, event)
    archiver.clock.at_ms += 10 * HOUR_MS
    await archiver.sweeper.sweep()
    record = await archiver.record(event)
    assert record is not None
    assert (record.hours, record.expiring, record.expired_hours) == ((), (), 3)
    session = Session(event, origin_ms=13 * HOUR_MS)
    await publish(archiver.js, session.segments(2))
    entries = await (await archiver.index(event)).numbered("primary-1")
    assert [(entry.number, entry.seams) for entry in entries] == [(30, 2), (31, 2)]


async def test_a_recording_whose_job_is_over_leaves_nothing_behind(archiver: Archive) -> None:
    event = new_event()
    segments = await recorded(archiver, event)
    archiver.store.put(f"live/{event}/{segments[0].session}/primary-1/00000099.m4s", b"never announced")
    await archiver.job(event, "finished")
    watched = await archiver.index(event)
    archiver.clock.at_ms += 10 * HOUR_MS
    await archiver.sweeper.sweep()
    assert archiver.objects(event) == []
    assert await archiver.record(event) is None
    await watched.refresh()
    for index in (watched, await archiver.index(event)):  # the log itself is younger than its messages' retention
        assert (index.tail, index.tracks, index.hours) == ([], (), ())


@pytest.mark.parametrize("step", [1, 2, 7, 11, 12, 13, 19, 22, 23, 24, -1, -2, -3, -4, -5, -6])
async def test_killed_anywhere_the_next_sweep_ends_it_and_nothing_half_deleted_is_listed(
    archiver: Archive, step: int
) -> None:
    event = new_event()
    segments = await recorded(archiver, event)
    archiver.clock.at_ms += HOUR_MS
    archiver.store.steps = archiver.records.steps = 0
    if step > 0:
        archiver.store.die_at = step
    else:
        archiver.records.die_at, archiver.records.after = (1 - step) // 2, step % 2 == 0
    try:
        await archiver.retention.expire(ACCOUNT, event)
    except Killed:
        pass
    else:
        assert step > 22  # two hours of segments, an init segment, two objects: 23 deletions
    archiver.immortal()
    index = await archiver.index(event)
    entries = await index.between("primary-1", 0, 1 << 62)
    for entry in entries:
        assert archiver.store.info(entry.key) is not None
        assert archiver.store.info(entry.init_key) is not None
    assert len(entries) in {30, 10}
    archiver.age(event)
    await archiver.sweeper.sweep()
    record = await archiver.record(event)
    assert record is not None
    check_gone(archiver, event, record, segments)


def check_gone(archiver: Archive, event: str, record: RecordingRecord, segments: list[SegmentWritten]) -> None:
    assert [hour.hour - FIRST_HOUR for hour in record.hours] == [2]
    assert (record.expiring, record.expired_hours) == ((), 2)
    left = {f"live/{event}/{key}" for key in archiver.objects(event)}
    kept = segments[20:]
    assert left == {segment.key for segment in kept} | {kept[0].init_key, record.hours[0].key}


async def test_archivers_at_once_delete_the_same_once(archiver: Archive) -> None:
    event = new_event()
    segments = await recorded(archiver, event)
    archiver.clock.at_ms += HOUR_MS
    other = parts(archiver.service, archiver.clock, archiver.store, KEEP)
    for one in (archiver, other):
        await one.retention.expire(ACCOUNT, event)
    record = await archiver.record(event)
    assert record is not None
    check_gone(archiver, event, record, segments)
    expired = await archiver.announced("recordings.range.expired", event)
    assert [e["hour"] - FIRST_HOUR for e in expired] == [0, 1]


async def test_what_a_session_has_in_the_log_alone_keeps_its_folder(archiver: Archive) -> None:
    """It is still running: all its closed hours expire, the newest segments are in none. They and their init stay."""
    event = new_event()
    session = Session(event, duration=360 * 90_000)
    segments = session.segments(32)  # three hours and two segments
    put_media(archiver.store, segments)
    await publish(archiver.js, segments[:30])
    await archiver.job(event)
    archiver.clock.at_ms = HOUR_START_MS + 3 * HOUR_MS
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    await publish(archiver.js, segments[30:])
    archiver.clock.at_ms = HOUR_START_MS + 9 * HOUR_MS
    await archiver.retention.expire(ACCOUNT, event)
    record = await archiver.record(event)
    assert record is not None
    assert record.hours == ()
    left = {f"live/{event}/{key}" for key in archiver.objects(event)}
    assert left == {segments[30].key, segments[31].key, segments[31].init_key}
    assert [entry.sequence for entry in (await archiver.index(event)).tail] == [30, 31]


async def test_archivers_side_by_side_delete_while_others_compact(archiver: Archive) -> None:
    """Each finds the record changed under its hands, and goes on: no run ends by another's write."""
    event = new_event()
    segments = await recorded(archiver, event)
    archiver.clock.at_ms += HOUR_MS
    others = [parts(archiver.service, archiver.clock, archiver.store, KEEP) for _ in range(3)]
    fresh = Session(event, duration=360 * 90_000, origin_ms=3 * HOUR_MS).segments(6)
    put_media(archiver.store, fresh)
    await publish(archiver.js, fresh)
    gate, reads = asyncio.Event(), 0

    class Late(type(archiver.records)):  # type: ignore[misc]  so that all have read the record before one writes
        async def recording(self, account: str, event: str) -> Any:
            nonlocal reads
            stored = await super().recording(account, event)
            reads += 1
            if reads >= 4:
                gate.set()
            await gate.wait()
            return stored

    for one in (archiver, *others):
        for part in (one.retention, one.compactor):
            part._records = Late(archiver.service.js)
    await asyncio.gather(
        archiver.retention.expire(ACCOUNT, event),
        others[0].retention.expire(ACCOUNT, event),
        others[1].compactor.compact(ACCOUNT, event, everything=True),
        others[2].compactor.compact(ACCOUNT, event, everything=True),
    )
    await archiver.retention.tidy(ACCOUNT, event)
    record = await archiver.record(event)
    assert record is not None
    assert [(hour.hour - FIRST_HOUR, hour.segments) for hour in record.hours] == [(2, 10), (3, 6)]
    assert record.expiring == ()
    left = {f"live/{event}/{key}" for key in archiver.objects(event)}
    kept = [*segments[20:], *fresh]
    assert left == {s.key for s in kept} | {s.init_key for s in kept} | {hour.key for hour in record.hours}


async def test_a_broken_recording_holds_up_no_other(archiver: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, fine = sorted([new_event(), new_event()])
    await recorded(archiver, broken)
    await recorded(archiver, fine)
    expire = archiver.retention.expire

    async def fail(account: str, event: str) -> None:
        if event == broken:
            raise Unavailable("the store is away")
        await expire(account, event)

    monkeypatch.setattr(archiver.retention, "expire", fail)
    archiver.clock.at_ms += HOUR_MS
    with pytest.raises(Unavailable):
        await archiver.sweeper.sweep()
    record = await archiver.record(fine)
    assert record is not None
    assert [hour.hour - FIRST_HOUR for hour in record.hours] == [2]


async def test_a_sweep_closes_the_hours_of_streams_that_fell_silent(archiver: Archive) -> None:
    event = new_event()
    await archiver.job(event, "disconnected")
    await publish(archiver.js, Session(event).segments(5))
    archiver.clock.at_ms = HOUR_START_MS + 5 * 60_000
    await archiver.sweeper.sweep()
    assert await archiver.record(event) is None  # the ten minutes are not over
    archiver.clock.at_ms = HOUR_START_MS + 11 * 60_000
    await archiver.sweeper.sweep()
    record = await archiver.record(event)
    assert record is not None
    assert [(hour.segments, hour.closed) for hour in record.hours] == [(5, False)]
    archiver.clock.at_ms = HOUR_START_MS + 61 * 60_000
    await archiver.sweeper.sweep()
    await archiver.sweeper.sweep()
    record = await archiver.record(event)
    assert record is not None
    assert [(hour.segments, hour.closed) for hour in record.hours] == [(5, True)]
    assert len(await archiver.announced("recordings.hour.closed", event)) == 1


async def test_an_hour_whose_object_is_damaged_still_expires(archiver: Archive) -> None:
    event = new_event()
    await recorded(archiver, event)
    record = await archiver.record(event)
    assert record is not None
    archiver.store.put(record.hours[0].key, b"rubbish")
    archiver.clock.at_ms += HOUR_MS
    await archiver.retention.expire(ACCOUNT, event)
    after = await archiver.record(event)
    assert after is not None
    assert [hour.hour - FIRST_HOUR for hour in after.hours] == [2]
    assert {key.split("/")[0] for key in archiver.objects(event)} == {"index", after.last[0].segment.session}
