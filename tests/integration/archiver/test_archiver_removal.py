"""What clients delete and what a short disk takes: bytes, index, records of sessions, also after kills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.archiver.removal import Removal
from services.archiver.room import RoomMaker
from services.gateway.domain.locks import Locks
from shared.broker.kv import Bucket
from shared.messages.media import RecordingDelete, SegmentWritten
from shared.messages.recordings import RecordingRecord
from shared.messages.sessions import EventClock, SessionRecord, clock_key
from shared.recording.hours import HOUR_MS, hour_of
from shared.store.reserve import Reserve
from tests.support.archive import Archive, Killed, archive, clip_in_work, parts, put_media
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish

KEEP = timedelta(days=7)
MINUTE_MS = 60_000


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path, KEEP) as running:
        yield running


def removal(archiver: Archive) -> Removal:
    return Removal(archiver.store, archiver.compactor, archiver.retention)


def wish(event: str, from_ms: int | None = None, to_ms: int | None = None) -> RecordingDelete:
    return RecordingDelete(account=ACCOUNT, event=event, from_ms=from_ms, to_ms=to_ms, at_ms=1)


async def recorded(archiver: Archive, event: str, minutes: int = 150) -> list[SegmentWritten]:
    """One session of segments of a minute, two and a half hours; the last ones are in the log alone."""
    session = Session(event, duration=60 * 90_000)
    segments = session.segments(minutes)
    put_media(archiver.store, segments)
    await publish(archiver.js, segments)
    archiver.clock.at_ms = HOUR_START_MS + minutes * MINUTE_MS
    await archiver.job(event, "finished")
    sessions = Bucket(archiver.service.js, "sessions", SessionRecord)
    over = SessionRecord(
        account=ACCOUNT, event=event, session=session.session, protocol="rtmp", instance="x",
        first_frame_ms=HOUR_START_MS, origin_ms=0, ended_ms=archiver.clock.at_ms, reason="disconnected",
    )  # fmt: skip
    await sessions.create(f"{ACCOUNT}.{event}.{session.session}", over)
    clocks = Bucket(archiver.service.js, "sessions", EventClock)
    await clocks.create(clock_key(ACCOUNT, event), EventClock(first_frame_ms=HOUR_START_MS))
    await archiver.compactor.compact(ACCOUNT, event)
    return segments


def files(archiver: Archive, event: str, segments: list[SegmentWritten]) -> list[int]:
    left = {f"live/{event}/{key}" for key in archiver.objects(event)}
    return [segment.sequence for segment in segments if segment.key in left]


async def left_of_sessions(archiver: Archive, event: str) -> tuple[int, bool]:
    clocks = Bucket(archiver.service.js, "sessions", EventClock)
    there = await clocks.get(clock_key(ACCOUNT, event)) is not None
    return len(await archiver.records.sessions(ACCOUNT, event)), there


async def test_a_range_goes_and_nothing_else(archiver: Archive) -> None:
    event = new_event()
    segments = await recorded(archiver, event)
    start, end = HOUR_START_MS + 50 * MINUTE_MS + 1, HOUR_START_MS + 130 * MINUTE_MS
    kept = [*range(51), *range(130, 150)]  # the 50th begins before the range
    archiver.age(event)  # of those that compaction replaced
    for _ in range(2):
        await removal(archiver).remove(wish(event, start, end))
        record = await archiver.record(event)
        assert record is not None
        assert sum(hour.segments for hour in record.hours) == len(kept)
        assert not record.expiring
        assert files(archiver, event, segments) == kept
        assert segments[0].init_key.removeprefix(f"live/{event}/") in archiver.objects(event)
        indexes = [key for key in archiver.objects(event) if key.startswith("index/")]
        assert sorted(f"live/{event}/{key}" for key in indexes) == sorted(hour.key for hour in record.hours)
        assert await left_of_sessions(archiver, event) == (1, True)
    expired = await archiver.announced("recordings.range.expired", event)
    assert [one["segments"] for one in expired] == [9, 60, 10]


async def test_everything_goes_with_all_records(archiver: Archive) -> None:
    event = new_event()
    await recorded(archiver, event)
    for _ in range(2):
        await removal(archiver).remove(wish(event))
        assert archiver.objects(event) == []
        assert await archiver.record(event) is None
        assert await left_of_sessions(archiver, event) == (0, False)


@pytest.mark.parametrize("after", [False, True])
async def test_a_kill_anywhere_leaves_a_recording_that_is_whole_and_the_next_try_ends_it(
    nats: NatsServer, tmp_path: Path, *, after: bool
) -> None:
    async with archive(nats.url, tmp_path, KEEP) as first:
        for die_at in (1, 2, 3, 5, 8, 30):
            event = new_event()
            segments = await recorded(first, event, 70)
            order = wish(event, HOUR_START_MS + 10 * MINUTE_MS, HOUR_START_MS + 65 * MINUTE_MS)
            mortal = parts(first.service, first.clock, first.store, KEEP)
            mortal.records.after = after
            mortal.records.die_at = die_at if die_at < 4 else None
            first.store.steps, first.store.die_at = 0, die_at
            with pytest.raises(Killed):
                await removal(mortal).remove(order)
            first.immortal()
            await removal(first).remove(order)
            assert files(first, event, segments) == [*range(10), *range(65, 70)], die_at
            record = await first.record(event)
            assert record is not None
            assert sum(hour.segments for hour in record.hours) == 15
            assert not record.expiring


async def test_sessions_that_recorded_nothing_go_after_the_retention(archiver: Archive) -> None:
    event, waiting = new_event(), new_event()
    sessions = Bucket(archiver.service.js, "sessions", SessionRecord)
    archiver.clock.at_ms = HOUR_START_MS
    await archiver.job(event)
    await archiver.job(waiting)
    for number, one in enumerate((event, waiting)):
        session = SessionRecord(
            account=ACCOUNT, event=one, session=new_event(), protocol="srt", instance="x",
            first_frame_ms=HOUR_START_MS, origin_ms=0, ended_ms=None if number else HOUR_START_MS,
        )  # fmt: skip
        await sessions.create(f"{ACCOUNT}.{one}.{session.session}", session)
    await archiver.sweeper.sweep()
    assert len(await archiver.records.sessions(ACCOUNT, event)) == 1
    archiver.clock.at_ms += KEEP // timedelta(milliseconds=1)
    await archiver.sweeper.sweep()
    assert await archiver.records.sessions(ACCOUNT, event) == []
    assert len(await archiver.records.sessions(ACCOUNT, waiting)) == 1, "it has not ended"


async def test_a_short_disk_takes_the_oldest_hours_of_all(archiver: Archive, tmp_path: Path) -> None:
    for other in await archiver.records.recordings():  # of the tests before, on other disks
        await Bucket(archiver.service.js, "recordings", RecordingRecord).delete(f"{other.account}.{other.event}")
    old, new = new_event(), new_event()
    old_segments = await recorded(archiver, old, 130)
    new_segments = [
        segment.model_copy(update={"wall_start_ms": segment.wall_start_ms + HOUR_MS + 2 * MINUTE_MS})
        for segment in Session(new, duration=60 * 90_000).segments(70)
    ]
    put_media(archiver.store, new_segments)
    await publish(archiver.js, new_segments)
    await archiver.job(new)
    for event in (old, new):
        await archiver.compactor.compact(ACCOUNT, event, everything=True)
    everything = len(old_segments) + len(new_segments)

    def measure(_folder: Path) -> tuple[int, int, int]:
        """A disk that has four times the reserve free when 100 segments are left."""
        left = len(files(archiver, old, old_segments)) + len(files(archiver, new, new_segments))
        return 10_000, 0, 200 + 100 - left

    assert everything == 200
    maker = RoomMaker(Reserve(tmp_path, 50, measure), archiver.records, archiver.retention, archiver.clock)
    assert maker.is_short
    await maker.run_once()
    assert not maker.is_short
    assert files(archiver, old, old_segments) == list(range(120, 130)), "two hours went, the oldest"
    assert len(files(archiver, new, new_segments)) == 70
    assert hour_of(archiver.clock.at_ms) == hour_of(HOUR_START_MS) + 2
    assert await maker.run_once() == 0
    assert (
        RoomMaker(Reserve(tmp_path, 0, measure), archiver.records, archiver.retention, archiver.clock).is_short is False
    )


@pytest.mark.parametrize("by", ["a lock", "a clip in work"])
async def test_a_short_disk_spares_what_is_held(archiver: Archive, tmp_path: Path, by: str) -> None:
    for other in await archiver.records.recordings():  # of the tests before, on other disks
        await Bucket(archiver.service.js, "recordings", RecordingRecord).delete(f"{other.account}.{other.event}")
    event = new_event()
    segments = await recorded(archiver, event, 130)
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    if by == "a lock":
        await Locks(archiver.service.js).add(ACCOUNT, event, HOUR_START_MS, HOUR_START_MS + 1000)
    else:
        await clip_in_work(archiver, event, HOUR_START_MS, HOUR_START_MS + 1000)

    def measure(_folder: Path) -> tuple[int, int, int]:
        return 10_000, 0, 300 - len(files(archiver, event, segments))

    maker = RoomMaker(Reserve(tmp_path, 50, measure), archiver.records, archiver.retention, archiver.clock)
    assert await maker.run_once() == 1
    assert files(archiver, event, segments) == [*range(60), *range(120, 130)]
