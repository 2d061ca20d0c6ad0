"""Closed hours become index objects: once, whole, whoever dies or comes late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.messages.media import SegmentWritten
from shared.messages.recordings import RecordingRecord
from shared.recording.hours import HOUR_MS, hour_of, load_hour
from tests.support.archive import Archive, Killed, archive, parts
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish

FIRST_HOUR = hour_of(HOUR_START_MS)


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path) as running:
        yield running


async def check(archiver: Archive, event: str, sequences: list[int]) -> RecordingRecord:
    """The recording holds these segments, each once and numbered in order, wherever they lie."""
    index = await archiver.index(event)
    entries = await index.numbered("primary-1")
    assert [entry.sequence for entry in entries] == sequences
    assert [entry.number for entry in entries] == list(range(len(sequences)))
    record = await archiver.record(event)
    assert record is not None
    for summary in record.hours:
        hour = load_hour(archiver.store, summary)
        assert len(hour.segments) == summary.segments
        assert {hour_of(indexed.segment.wall_start_ms) for indexed in hour.segments} == {summary.hour}
        assert sum(indexed.segment.bytes for indexed in hour.segments) == summary.bytes
    return record


def long_session(event: str, *, ahead_ms: int = 0) -> Session:
    """A session of segments of 1 min, so that hours go by quickly."""
    return Session(event, duration=60 * 90_000, first_frame_ms=HOUR_START_MS + ahead_ms)


async def test_the_slot_that_is_being_written_stays_in_the_log(archiver: Archive) -> None:
    event = new_event()
    archiver.clock.at_ms = HOUR_START_MS + 35 * 60_000
    await publish(archiver.js, long_session(event).segments(35))
    await archiver.compactor.compact(ACCOUNT, event)
    record = await check(archiver, event, list(range(35)))
    assert [hour.segments for hour in record.hours] == [30]
    assert await archiver.announced("recordings.hour.closed", event) == []


async def test_an_hour_that_is_over_is_announced_once(archiver: Archive) -> None:
    event = new_event()
    session = long_session(event)
    for count in (35, 65, 125, 130):
        archiver.clock.at_ms = HOUR_START_MS + count * 60_000
        await publish(archiver.js, session.segments(count))  # those of before are dropped as duplicates
        await archiver.compactor.compact(ACCOUNT, event)
        await archiver.compactor.compact(ACCOUNT, event)
    record = await check(archiver, event, list(range(130)))
    assert [(hour.hour - FIRST_HOUR, hour.segments, hour.closed) for hour in record.hours] == [
        (0, 60, True),
        (1, 60, True),
    ]
    announced = await archiver.announced("recordings.hour.closed", event)
    assert [(a["hour"] - FIRST_HOUR, a["segments"]) for a in announced] == [(0, 60), (1, 60)]
    assert all(archiver.store.info(a["key"]) for a in announced)


async def test_a_late_segment_joins_the_hour_it_belongs_to(archiver: Archive) -> None:
    event = new_event()
    killed, session = long_session(event), Session(event, origin_ms=59 * 60_000, duration=60 * 90_000)
    archiver.clock.at_ms = HOUR_START_MS + 75 * 60_000
    await publish(archiver.js, [*killed.segments(58), *session.segments(16)])
    await archiver.compactor.compact(ACCOUNT, event)
    before = await archiver.record(event)
    assert before is not None
    assert [hour.segments for hour in before.hours] == [59, 10]
    await publish(archiver.js, [killed.segment(58, recovered=True), *session.segments(10, first=16)])
    archiver.clock.at_ms += 10 * 60_000
    await archiver.compactor.compact(ACCOUNT, event)
    after = await archiver.record(event)
    assert after is not None
    assert [hour.segments for hour in after.hours] == [60, 20]
    late = [i for i in load_hour(archiver.store, after.hours[0]).segments if i.number is None]
    assert [(i.segment.session, i.segment.sequence) for i in late] == [(killed.session, 58)]
    index = await archiver.index(event)
    assert [e.number for e in await index.numbered("primary-1")] == list(range(58 + 26))
    announced = await archiver.announced("recordings.hour.closed", event)
    assert [(a["hour"] - FIRST_HOUR, a["segments"]) for a in announced] == [(0, 59), (0, 60)]


async def test_everything_is_closed_when_the_job_is_over(archiver: Archive) -> None:
    event = new_event()
    archiver.clock.at_ms = HOUR_START_MS + 61 * 60_000
    await archiver.job(event, "finished")
    await publish(archiver.js, long_session(event).segments(61))
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    record = await check(archiver, event, list(range(61)))
    assert [hour.segments for hour in record.hours] == [60, 1]
    assert (await archiver.index(event)).tail == []
    assert len(await archiver.announced("recordings.hour.closed", event)) == 2


@pytest.mark.parametrize(
    ("put", "record", "after"),
    [(1, None, False), (2, None, False), (None, 1, False), (None, 1, True), (None, 2, False), (None, 2, True)],
)
async def test_killed_at_any_step_the_next_archiver_makes_it_whole(
    archiver: Archive, put: int | None, record: int | None, *, after: bool
) -> None:
    event = new_event()
    archiver.clock.at_ms = HOUR_START_MS + 125 * 60_000
    session = long_session(event)
    await publish(archiver.js, session.segments(55))
    await archiver.compactor.compact(ACCOUNT, event)
    await publish(archiver.js, session.segments(70, first=55))
    archiver.store.steps = archiver.records.steps = 0
    archiver.store.die_at, archiver.records.die_at, archiver.records.after = put, record, after
    with pytest.raises(Killed):
        await archiver.compactor.compact(ACCOUNT, event)
    archiver.immortal()
    await check(archiver, event, list(range(125)))
    await archiver.compactor.compact(ACCOUNT, event)
    whole = await check(archiver, event, list(range(125)))
    assert [hour.segments for hour in whole.hours] == [60, 60]
    announced = {
        (a["hour"] - FIRST_HOUR, a["segments"]) for a in await archiver.announced("recordings.hour.closed", event)
    }
    assert announced == {(0, 60), (1, 60)}
    archiver.age(event)
    await archiver.retention.tidy(ACCOUNT, event)
    assert len([key for key in archiver.objects(event) if key.startswith("index/")]) == 2


async def test_archivers_at_once_leave_one_whole_index(archiver: Archive) -> None:
    event = new_event()
    archiver.clock.at_ms = HOUR_START_MS + 200 * 60_000
    session = long_session(event)
    several = [archiver, *(parts(archiver.service, archiver.clock, archiver.store) for _ in range(3))]
    for count in range(10, 200, 25):
        await publish(archiver.js, session.segments(25, first=count - 10))
        await asyncio.gather(*(one.compactor.compact(ACCOUNT, event) for one in several), return_exceptions=True)
    await archiver.compactor.compact(ACCOUNT, event)
    record = await check(archiver, event, list(range(200)))
    assert sum(hour.segments for hour in record.hours) == 190
    archiver.age(event)
    await asyncio.gather(*(one.retention.tidy(ACCOUNT, event) for one in several))
    assert len([key for key in archiver.objects(event) if key.startswith("index/")]) == len(record.hours)


async def test_a_tidy_up_leaves_the_object_that_a_record_is_about_to_list(archiver: Archive) -> None:
    event = new_event()
    archiver.clock.at_ms = HOUR_START_MS + 200 * 60_000
    session = long_session(event)
    await publish(archiver.js, session.segments(25))
    await archiver.compactor.compact(ACCOUNT, event)
    await publish(archiver.js, session.segments(25, first=25))
    other = parts(archiver.service, archiver.clock, archiver.store)
    other.records.die_at = 1
    with pytest.raises(Killed):  # stands for: has written its object, and not yet its record
        await other.compactor.compact(ACCOUNT, event)
    objects = archiver.objects(event)
    await archiver.retention.tidy(ACCOUNT, event)
    assert archiver.objects(event) == objects


async def test_an_archiver_that_was_away_catches_up_over_hours(archiver: Archive) -> None:
    event = new_event()
    archiver.clock.at_ms = HOUR_START_MS + 5 * HOUR_MS
    await publish(archiver.js, long_session(event).segments(295))
    await archiver.compactor.compact(ACCOUNT, event)
    record = await check(archiver, event, list(range(295)))
    assert [hour.segments for hour in record.hours] == [60, 60, 60, 60, 50]


@pytest.mark.parametrize("how", ["lost", "damaged"])
async def test_an_hour_that_cannot_be_read_does_not_hold_up_what_follows(archiver: Archive, how: str) -> None:
    event = new_event()
    session = long_session(event)
    archiver.clock.at_ms = HOUR_START_MS + 70 * 60_000
    await publish(archiver.js, session.segments(25))
    await archiver.compactor.compact(ACCOUNT, event)
    record = await archiver.record(event)
    assert record is not None
    if how == "lost":
        archiver.store.delete(record.hours[0].key)
    else:
        archiver.store.put(record.hours[0].key, b"[]")
    await publish(archiver.js, session.segments(40, first=25))
    await archiver.compactor.compact(ACCOUNT, event)
    entries = await (await archiver.index(event)).numbered("primary-1")
    assert [(entry.sequence, entry.number) for entry in entries] == [(n, n) for n in range(65)], "rebuilt from the log"


async def test_a_clock_that_jumps_for_a_while_does_not_stop_compaction(archiver: Archive) -> None:
    event = new_event()
    session = long_session(event)
    odd = session.segment(5, wall_start_ms=HOUR_START_MS + 400 * HOUR_MS)
    log = [*session.segments(5), odd, *session.segments(24, first=6)]
    archiver.clock.at_ms = HOUR_START_MS + 30 * 60_000
    await publish(archiver.js, log)
    await archiver.compactor.compact(ACCOUNT, event)
    record = await check(archiver, event, list(range(30)))
    assert sum(hour.segments for hour in record.hours) == 20
    assert record.hours[-1].hour == FIRST_HOUR + 400


def short(session: Session, sequence: int) -> SegmentWritten:
    """What was salvaged of a segment whose writer lived after all: a copy, under its number with twelve digits."""
    folder = f"live/{session.event}/{session.session}/{session.track}"
    return session.segment(sequence, key=f"{folder}/{sequence:012}.m4s", bytes=9000, duration=20_000, recovered=True)


@pytest.mark.parametrize("at", [3, 7], ids=["in the middle of an hour", "the newest of all"])
async def test_what_was_salvaged_short_is_replaced_by_the_whole_after_its_hour_was_compacted(
    archiver: Archive, at: int
) -> None:
    event = new_event()
    session = Session(event, first_frame_ms=HOUR_START_MS)
    log = [short(session, n) if n == at else session.segment(n) for n in range(8)]
    await publish(archiver.js, log)
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    before = await archiver.record(event)
    assert before is not None
    assert [hour.bytes for hour in before.hours] == [7 * 1_250_000 + 9000]
    index = await archiver.index(event)
    await publish(archiver.js, [session.segment(at)])
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    await publish(archiver.js, session.segments(2, first=8))
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    after = await archiver.record(event)
    assert after is not None
    assert [hour.bytes for hour in after.hours] == [10 * 1_250_000]
    indexed = load_hour(archiver.store, after.hours[0]).segments
    assert [(i.segment.sequence, i.number, i.discontinuity) for i in indexed] == [
        (i.sequence, i.number, i.seams) for i in await (await archiver.index(event)).numbered("primary-1")
    ]
    assert [i.number for i in indexed] == list(range(10))
    assert [i.segment.key for i in indexed] == [session.segment(n).key for n in range(10)]
    await index.refresh()
    assert [e.key for e in await index.numbered("primary-1")] == [i.segment.key for i in indexed]


@pytest.mark.parametrize("how", ["lost", "damaged"])
async def test_a_whole_segment_of_another_date_joins_the_hour_that_has_it_though_that_cannot_be_read(
    archiver: Archive, how: str
) -> None:
    event = new_event()
    session = Session(event, first_frame_ms=HOUR_START_MS + HOUR_MS - 10_000)
    await publish(archiver.js, [*session.segments(4), short(session, 4)])
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    before = await archiver.record(event)
    assert before is not None
    if how == "lost":
        archiver.store.delete(before.hours[0].key)
    else:
        archiver.store.put(before.hours[0].key, b"[]")
    await publish(archiver.js, [session.segment(4, wall_start_ms=HOUR_START_MS + HOUR_MS + 100)])
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    after = await archiver.record(event)
    assert after is not None
    assert [hour.bytes for hour in after.hours] == [5 * 1_250_000]
    assert [i.number for i in load_hour(archiver.store, after.hours[0]).segments] == list(range(5))


async def test_what_is_there_already_writes_no_hour_anew(archiver: Archive) -> None:
    event = new_event()
    session = Session(event, first_frame_ms=HOUR_START_MS)
    await publish(archiver.js, session.segments(5))
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    before = await archiver.record(event)
    await publish(archiver.js, [session.segment(2), short(session, 3)], dedup=False)
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    after = await archiver.record(event)
    assert before is not None
    assert after is not None
    assert [hour.key for hour in after.hours] == [hour.key for hour in before.hours]
    assert after.log_sequence > before.log_sequence
