"""Index objects that are gone or damaged are rebuilt: from the log as they were, from the files as these say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from pathlib import Path

import pytest

from services.archiver.removal import Removal
from services.clipper.cutter import Cutter
from services.gateway.delivery.index.live import Shelf
from shared.broker.kv import Bucket
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.messages.base import Message
from shared.messages.clips import Selection
from shared.messages.media import IndexHour, RecordingDelete, RecordingRebuild, SegmentWritten
from shared.messages.recordings import HourSummary, RecordingRecord
from shared.messages.sessions import SessionRecord
from shared.recording import RecordingPart, load_range
from shared.recording.asking import Asking
from shared.recording.hours import load_hour
from shared.runtime.clock import SystemClock
from shared.store.base import ObjectMissing
from tests.support import media_streams as media
from tests.support.archive import Archive, Killed, archive, parts, running_archiver
from tests.support.media_recording import Recorded, pieces
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish, until

H = HOUR_START_MS


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path) as made:
        yield made


def gone(archiver: Archive, key: str) -> None:
    archiver.store.delete(key)


def empty(archiver: Archive, key: str) -> None:
    archiver.store.put(key, b"")


def zeroed(archiver: Archive, key: str) -> None:
    archiver.store.put(key, bytes(len(archiver.store.get(key))))


def cut_short(archiver: Archive, key: str) -> None:
    archiver.store.put(key, archiver.store.get(key)[:-700])


def a_bit_off(archiver: Archive, key: str) -> None:
    data = bytearray(archiver.store.get(key))
    data[len(data) // 2] ^= 4
    archiver.store.put(key, bytes(data))


def of_another_version(archiver: Archive, key: str) -> None:
    archiver.store.put(key, json.dumps({"version": 9, "segments": "elsewhere"}).encode())


DAMAGES: tuple[Callable[[Archive, str], None], ...] = (gone, empty, zeroed, cut_short, a_bit_off, of_another_version)


async def three_hours(archiver: Archive, event: str) -> RecordingRecord:
    """Record over three hours, two sessions, a late segment and one salvaged; the middle hour has all of it."""
    first = Session(event, first_frame_ms=H - 10_000)
    second = Session(event, origin_ms=40_000, first_frame_ms=H - 10_000)
    third = Session(event, origin_ms=3_600_000, first_frame_ms=H)
    await publish(archiver.js, [*first.segments(6), first.segment(6), first.segment(8), first.segment(7)])
    await publish(
        archiver.js, [*second.segments(9), first.segment(9, recovered=True, bytes=900), *second.segments(3, 9)]
    )
    await publish(archiver.js, third.segments(5))
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    record = await archiver.record(event)
    assert record is not None
    assert [hour.hour for hour in record.hours] == [H // 3_600_000 - 1, H // 3_600_000, H // 3_600_000 + 1]
    return record


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "newest"])
async def test_what_the_log_still_has_is_rebuilt_as_it_was(
    archiver: Archive, damage: Callable[[Archive, str], None], place: int
) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    hour = record.hours[place]
    original = archiver.store.get(hour.key)
    damage(archiver, hour.key)
    assert await archiver.compactor.rebuilder.rebuild(ACCOUNT, event) == 1
    after = await archiver.record(event)
    assert after is not None
    assert after.hours == record.hours, "the same object under the same key"
    assert archiver.store.get(hour.key) == original
    assert await archiver.compactor.rebuilder.rebuild(ACCOUNT, event) == 0


async def test_all_hours_at_once(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    originals = [archiver.store.get(hour.key) for hour in record.hours]
    for hour in record.hours:
        gone(archiver, hour.key)
    await archiver.sweeper.sweep()
    after = await archiver.record(event)
    assert after is not None
    for hour, original in zip(after.hours, originals, strict=True):
        rebuilt, was = load_hour(archiver.store, hour), IndexHour.model_validate_json(original)
        assert [i.segment for i in rebuilt.segments] == [i.segment for i in was.segments]
        assert [i.number for i in rebuilt.segments] == [i.number for i in was.segments]


@pytest.mark.parametrize("at", range(1, 4))
@pytest.mark.parametrize("where", ["store", "record before", "record after"])
async def test_killed_in_the_middle_of_rebuilding(archiver: Archive, where: str, at: int) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    originals = [archiver.store.get(hour.key) for hour in record.hours]
    for hour in record.hours:
        zeroed(archiver, hour.key)
    if where == "store":
        archiver.store.steps, archiver.store.die_at = 0, at
    else:
        archiver.records.steps, archiver.records.die_at, archiver.records.after = 0, at, where == "record after"
    with contextlib.suppress(Killed):
        await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    archiver.immortal()
    again = parts(archiver.service, archiver.clock, archiver.store)
    await again.compactor.rebuilder.rebuild(ACCOUNT, event)
    after = await archiver.record(event)
    assert after is not None
    found = [[i.segment for i in load_hour(archiver.store, hour).segments] for hour in after.hours]
    assert found == [[i.segment for i in IndexHour.model_validate_json(was).segments] for was in originals]


async def test_two_archivers_at_once(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    gone(archiver, record.hours[1].key)
    other = parts(archiver.service, archiver.clock, archiver.store)
    late = Session(event, first_frame_ms=H).segments(2)
    await publish(archiver.js, late)
    await asyncio.gather(
        archiver.compactor.rebuilder.rebuild(ACCOUNT, event),
        other.compactor.rebuilder.rebuild(ACCOUNT, event),
        other.compactor.compact(ACCOUNT, event, everything=True),
    )
    after = await archiver.record(event)
    assert after is not None
    for hour in after.hours:
        load_hour(archiver.store, hour)
    held = {i.segment.key for hour in after.hours for i in load_hour(archiver.store, hour).segments}
    assert len(held) == sum(hour.segments for hour in record.hours) + 2


async def test_a_late_segment_joins_a_damaged_hour_and_nothing_is_lost(archiver: Archive) -> None:
    """Compaction reads what an hour has: what it could not read was given up."""
    event = new_event()
    record = await three_hours(archiver, event)
    zeroed(archiver, record.hours[1].key)
    await publish(archiver.js, [Session(event, first_frame_ms=H + 60_000).segment(0)])
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    after = await archiver.record(event)
    assert after is not None
    assert after.hours[1].segments == record.hours[1].segments + 1
    assert len(load_hour(archiver.store, after.hours[1]).segments) == after.hours[1].segments


async def forget_the_log(archiver: Archive, event: str) -> None:
    """Let 48 hours pass for the log."""
    await archiver.js.purge_stream(SEGMENTS, subject=segments_subject(ACCOUNT, event))


async def record_media(archiver: Archive, event: str, folder: Path, *, wall_ms: int) -> list[SegmentWritten]:
    """Record a real stream, and announce it as an ingester would, an hour's end within it."""
    session = Session(event).session
    prefix = f"live/{event}/{session}/primary-1"
    source = media.encode(folder / "s.flv", video="h264-b", seconds=12, gop=30, size="96x64")
    recorded = Recorded(archiver.store.root / prefix)
    recorded.clock.ms = wall_ms
    recorded.run("flv", pieces(source.read_bytes()))
    zero, origin = recorded.segments[0].keyframes[0], 0
    record = SessionRecord(
        account=ACCOUNT, event=event, session=session, protocol="rtmp", instance="i",
        first_frame_ms=recorded.first_frame_ms[0],
        origin_ms=origin, zero=zero, lead=recorded.lead, ended_ms=wall_ms + 12_000,
    )  # fmt: skip
    await Bucket(archiver.service.js, "sessions", SessionRecord).create(f"{ACCOUNT}.{event}.{session}", record)
    segments = [
        SegmentWritten(
            account=ACCOUNT, event=event, session=session, sequence=info.sequence, key=f"{prefix}/{info.path.name}",
            init_key=f"{prefix}/init-{info.init_number}.mp4", start=info.start, duration=info.duration,
            timescale=info.timescale, origin_ms=origin, zero=zero, lead=recorded.lead,
            wall_start_ms=info.wall_start_ms, bytes=info.bytes, sha256=info.sha256, keyframes=info.keyframes,
            discontinuity=info.discontinuity, independent=info.independent,
        )
        for info in recorded.segments
    ]  # fmt: skip
    await publish(archiver.js, segments)
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    return segments


async def part(archiver: Archive, event: str, start: float, end: float) -> RecordingPart:
    selection = Selection(clock="stream", start=Fraction(start), end=Fraction(end))
    return await load_range(archiver.js, archiver.store, ACCOUNT, event, selection=selection)


def wall_apart(left: SegmentWritten, right: SegmentWritten) -> int:
    return abs(left.wall_start_ms - right.wall_start_ms)


@pytest.mark.parametrize("has_session", [True, False], ids=["its session is known", "nothing else is known"])
async def test_from_files_alone(archiver: Archive, tmp_path: Path, has_session: bool) -> None:
    """All that is told of a segment is what was announced of it, its date to within what a clock is corrected by."""
    event = new_event()
    announced = await record_media(archiver, event, tmp_path, wall_ms=H + 60_000)
    record = await archiver.record(event)
    assert record is not None
    before = load_hour(archiver.store, record.hours[0])
    await forget_the_log(archiver, event)
    if not has_session:
        bucket = Bucket(archiver.service.js, "sessions", SessionRecord)
        await bucket.delete(f"{ACCOUNT}.{event}.{announced[0].session}")
    gone(archiver, record.hours[0].key)
    assert await archiver.compactor.rebuilder.rebuild(ACCOUNT, event) == 1
    after = await archiver.record(event)
    assert after is not None
    rebuilt = load_hour(archiver.store, after.hours[0])
    found = [i.segment for i in rebuilt.segments]
    same = {"wall_start_ms": 0} | ({} if has_session else {"zero": 0, "lead": 0, "origin_ms": 0})
    assert [s.model_copy(update=same) for s in found] == [s.model_copy(update=same) for s in announced]
    assert max(map(wall_apart, found, announced)) < 100
    assert [(i.number, i.discontinuity) for i in rebuilt.segments] == [
        (i.number, i.discontinuity) for i in before.segments
    ]


@pytest.mark.parametrize("has_session", [True, False], ids=["its session is known", "nothing else is known"])
async def test_a_clip_is_exact_where_only_files_are_left(archiver: Archive, tmp_path: Path, has_session: bool) -> None:
    """The same frames as before, by the frame: an origin that is off by one would show."""
    event = new_event()
    announced = await record_media(archiver, event, tmp_path, wall_ms=H + 60_000)
    record = await archiver.record(event)
    assert record is not None
    start, end, stop = Fraction(37, 10), Fraction(79, 10), threading.Event()
    before = Cutter(archiver.store).exact((await part(archiver, event, 0, 12)).segments, start, end, "clips/a", stop)
    await forget_the_log(archiver, event)
    if not has_session:
        bucket = Bucket(archiver.service.js, "sessions", SessionRecord)
        await bucket.delete(f"{ACCOUNT}.{event}.{announced[0].session}")
    zeroed(archiver, record.hours[0].key)
    await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    found = await part(archiver, event, 0, 12)
    after = Cutter(archiver.store).exact(found.segments, start, end, "clips/b", stop)
    assert after.gaps == before.gaps == ()
    assert after.file.frames == before.file.frames
    pictures = [media.frame_hashes(archiver.store.path(made.file.key)) for made in (before, after)]
    assert pictures[0] == pictures[1]


async def test_what_is_nowhere_any_more_is_a_gap_and_the_rest_keeps_its_place(
    archiver: Archive, tmp_path: Path
) -> None:
    event = new_event()
    announced = await record_media(archiver, event, tmp_path, wall_ms=H + 60_000)
    await forget_the_log(archiver, event)
    record = await archiver.record(event)
    assert record is not None
    zeroed(archiver, record.hours[0].key)
    gone(archiver, announced[2].key)
    archiver.store.put(announced[3].key, b"no segment any more")
    await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    after = await archiver.record(event)
    assert after is not None
    left = load_hour(archiver.store, after.hours[0]).segments
    assert [(i.segment.sequence, i.number) for i in left] == [(0, 0), (1, 1), (4, 4), (5, 5)]
    found = await part(archiver, event, 0, 12)
    (hole,) = found.timeline.gaps(found.span)
    assert float(hole.start) == pytest.approx(4, abs=0.2)
    assert float(hole.duration) == pytest.approx(4, abs=0.2)


async def test_an_hour_of_which_nothing_is_left_stays_listed_as_a_gap(archiver: Archive, tmp_path: Path) -> None:
    event = new_event()
    announced = await record_media(archiver, event, tmp_path, wall_ms=H + 60_000)
    await forget_the_log(archiver, event)
    record = await archiver.record(event)
    assert record is not None
    for key in (record.hours[0].key, *(segment.key for segment in announced)):
        gone(archiver, key)
    await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    after = await archiver.record(event)
    assert after is not None
    assert after.hours == record.hours
    assert (await part(archiver, event, 0, 12)).segments == ()


async def test_until_it_is_rebuilt_the_rest_can_be_read(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    whole = [s.key for s in (await part(archiver, event, 0, 10_000)).segments]
    for damage in DAMAGES:
        damage(archiver, record.hours[1].key)
        found = await part(archiver, event, 0, 10_000)
        assert [hour.hour for hour in found.unread] == [record.hours[1].hour]
        assert len(found.segments) == record.hours[0].segments + record.hours[2].segments
        index = await archiver.index(event)
        numbers = [entry.number for entry in await index.numbered("primary-1")]
        assert numbers == sorted(numbers)
        assert len(await index.between("primary-1", 0, 1 << 62)) == len(found.segments)
        await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
        again = await part(archiver, event, 0, 10_000)
        assert [s.key for s in again.segments] == whole
        assert len(await index.between("primary-1", 0, 1 << 62)) == len(whole), "an index in memory sees it, too"


async def test_whoever_cannot_read_an_hour_has_it_rebuilt(nats: NatsServer, tmp_path: Path) -> None:
    """A player's gateway meets the damage: it asks, a running archiver rebuilds, the next look has all of it."""
    event = new_event()
    async with archive(nats.url, tmp_path) as made:
        record = await three_hours(made, event)
        original = made.store.get(record.hours[1].key)
        asked: list[RecordingRebuild] = []

        class Asked:
            async def emit(self, message: Message) -> int:
                assert isinstance(message, RecordingRebuild)
                asked.append(message)
                return 0

        clock = SystemClock()
        zeroed(made, record.hours[1].key)
        index = await Shelf(made.service.js, made.store, clock, asking=Asking(Asked(), clock)).index(ACCOUNT, event)
        before = await index.between("primary-1", 0, 1 << 62)
        await index.between("primary-1", 0, 1 << 62)
        assert [(one.hour, one.key) for one in asked] == [(record.hours[1].hour, record.hours[1].key)], "once"
        async with running_archiver(nats.url, tmp_path, clock):
            await made.js.publish(
                f"recordings.rebuild.{ACCOUNT}.{event}", asked[0].model_dump_json().encode(),
                stream="COMMANDS_ARCHIVER",
                headers={"ce-id": "1", "ce-type": "recordings.rebuild", "ce-source": "gateway"},
            )  # fmt: skip

            async def rebuilt() -> bool:
                try:
                    return made.store.get(record.hours[1].key) == original
                except ObjectMissing:
                    return False

            await until(rebuilt)

            async def seen() -> bool:
                return len(await index.between("primary-1", 0, 1 << 62)) == len(before) + record.hours[1].segments

            await until(seen)


async def test_a_range_is_deleted_out_of_an_hour_that_had_to_be_rebuilt(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    hour: HourSummary = record.hours[1]
    zeroed(archiver, hour.key)
    middle = hour.wall_start_ms + 20_000
    wish = RecordingDelete(account=ACCOUNT, event=event, from_ms=hour.wall_start_ms, to_ms=middle, at_ms=H)
    await Removal(archiver.store, archiver.compactor, archiver.retention).remove(wish)
    after = await archiver.record(event)
    assert after is not None
    left = [i.segment for each in after.hours for i in load_hour(archiver.store, each).segments]
    assert not [s for s in left if hour.wall_start_ms <= s.wall_start_ms and s.wall_start_ms + 2000 <= middle]
    assert len(left) < sum(each.segments for each in record.hours)
    assert len(left) > record.hours[0].segments + record.hours[2].segments
