"""Reading recordings from hours' objects and the log's tail: what a clip needs, and the index of playlists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import pytest

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.index.live import LiveIndex, Shelf
from shared.broker.batches import BATCH
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.messages.media import SegmentWritten
from shared.messages.ranges import Selection
from shared.recording import RecordingPart, load, load_range
from shared.recording.hours import hour_of
from shared.recording.log import newest, read_log
from shared.runtime.clock import SystemClock
from tests.support.archive import Archive, archive
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish, until

WALL = Fraction(HOUR_START_MS, 1000)
HOUR = 1800  # segments of 2 s


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path) as running:
        yield running


async def part(archiver: Archive, event: str, start: float, end: float, clock: str = "stream") -> RecordingPart:
    zero = Fraction(0) if clock == "stream" else WALL
    selection = Selection.model_validate({"clock": clock, "start": zero + Fraction(start), "end": zero + Fraction(end)})
    return await load_range(archiver.js, archiver.store, ACCOUNT, event, selection=selection)


def sequences(segments: list[SegmentWritten] | tuple[SegmentWritten, ...] | list[IndexEntry]) -> list[int]:
    return [segment.sequence for segment in segments]


async def test_nothing_recorded_is_an_empty_part(archiver: Archive) -> None:
    found = await part(archiver, new_event(), 0, 10)
    assert found.segments == ()
    assert found.newest is None


@pytest.mark.parametrize("clock", ["stream", "wall"])
async def test_a_selection_is_read_by_either_clock(archiver: Archive, clock: str) -> None:
    event = new_event()
    await publish(archiver.js, Session(event).segments(20))
    found = await part(archiver, event, 5, 10, clock)
    assert sequences(found.segments) == [2, 3, 4]
    assert found.span == (5, 10)
    assert found.newest is not None
    assert found.newest.sequence == 19


async def test_events_do_not_see_each_other(archiver: Archive) -> None:
    one, other = new_event(), new_event()
    mixed = [s for pair in zip(Session(one).segments(3), Session(other).segments(3), strict=True) for s in pair]
    await publish(archiver.js, mixed)
    assert {segment.event for segment in (await part(archiver, one, 0, 10)).segments} == {one}


async def test_a_part_spans_closed_hours_and_the_log(archiver: Archive) -> None:
    event = new_event()
    session = Session(event, first_frame_ms=HOUR_START_MS - 60_000)
    await publish(archiver.js, session.segments(60))
    await archiver.compactor.compact(ACCOUNT, event)
    record = await archiver.record(event)
    assert record is not None
    assert [hour.segments for hour in record.hours] == [30]
    assert sequences((await part(archiver, event, 50, 70)).segments) == [25, 26, 27, 28, 29, 30, 31, 32, 33, 34]
    assert sequences((await part(archiver, event, 0, 120)).segments) == list(range(60))


async def time_is(at_ms: int) -> bool:
    return SystemClock().now_ms() >= at_ms


async def test_a_clip_near_the_edge_of_a_long_log_reads_little_of_it(
    archiver: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = new_event()
    edge_ms = SystemClock().now_ms() + 300
    session = Session(event, first_frame_ms=edge_ms - 400, duration=900)
    await publish(archiver.js, session.segments(40))
    await until(lambda: time_is(edge_ms + 5))  # the broker's own time, by which the log is entered, moves on
    await publish(archiver.js, session.segments(40, first=40))
    asked: list[int | None] = []
    reads: list[int] = []

    async def spy(*args: object, **options: object) -> object:
        asked.append(options.get("since_ms"))  # type: ignore[arg-type]
        found = await read_log(*args, **options)  # type: ignore[arg-type]
        reads.append(len(found))
        return found

    monkeypatch.setattr(load, "SLACK_MS", 0)
    monkeypatch.setattr(load, "read_log", spy)
    wall = Fraction(edge_ms, 1000)
    selection = Selection(clock="wall", start=wall + Fraction(5, 1000), end=wall + Fraction(15, 1000))
    found = await load_range(archiver.js, archiver.store, ACCOUNT, event, selection=selection)
    assert sequences(found.segments) == [40, 41]
    assert reads == [40]
    assert None not in asked


async def test_when_the_broker_s_clock_is_not_the_ingester_s_the_whole_tail_is_read(archiver: Archive) -> None:
    event = new_event()
    now = await newest(archiver.js, ACCOUNT, event)
    assert now is None
    # An ingester whose clock is a year ahead: the log entered by its times holds nothing.
    session = Session(event, first_frame_ms=HOUR_START_MS + 10 * 365 * 86_400_000)
    await publish(archiver.js, session.segments(10))
    assert sequences((await part(archiver, event, 4, 8)).segments) == [2, 3]


async def test_more_segments_than_one_batch_holds_are_all_read(archiver: Archive) -> None:
    event = new_event()
    await publish(archiver.js, Session(event).segments(BATCH + 5))
    logged = await read_log(archiver.js, ACCOUNT, event)
    assert [entry.segment.sequence for entry in logged] == list(range(BATCH + 5))
    assert [entry.log for entry in logged] == sorted({entry.log for entry in logged})
    assert len(await read_log(archiver.js, ACCOUNT, event, most=7)) == 7
    after = await read_log(archiver.js, ACCOUNT, event, after=logged[-2].log)
    assert [entry.log for entry in after] == [logged[-1].log]


async def test_garbage_in_the_log_hides_nothing_else(archiver: Archive) -> None:
    event = new_event()
    first, second = Session(event).segments(2)
    await publish(archiver.js, [first])
    await archiver.js.publish(segments_subject(ACCOUNT, event), b"\xff{", stream=SEGMENTS)
    await archiver.js.publish(segments_subject(ACCOUNT, event), b'{"event": 1}', stream=SEGMENTS)
    await publish(archiver.js, [second])
    assert sequences((await part(archiver, event, 0, 4)).segments) == [0, 1]
    await archiver.js.publish(segments_subject(ACCOUNT, event), b"{}", stream=SEGMENTS)
    assert await newest(archiver.js, ACCOUNT, event) is None
    assert sequences((await part(archiver, event, 0, 4)).segments) == [0, 1]


@pytest.mark.parametrize("body", [None, b"", b"{}"], ids=["gone", "empty", "damaged"])
async def test_an_hour_that_cannot_be_read_is_named_and_missing(archiver: Archive, body: bytes | None) -> None:
    """Until the archiver has rebuilt it (test_archiver_rebuilding.py)."""
    event = new_event()
    await publish(archiver.js, Session(event, first_frame_ms=HOUR_START_MS - 4000).segments(4))
    await archiver.compactor.compact(ACCOUNT, event)
    record = await archiver.record(event)
    assert record is not None
    if body is None:
        archiver.store.delete(record.hours[0].key)
    else:
        archiver.store.put(record.hours[0].key, body)
    found = await part(archiver, event, 0, 8)
    assert found.unread == record.hours
    assert sequences(found.segments) == [2, 3]
    index = await archiver.index(event)
    assert sequences(await index.numbered("primary-1")) == [2, 3]


async def whole(index: LiveIndex) -> list[IndexEntry]:
    return await index.between("primary-1", 0, 1 << 62)


async def test_an_index_made_anew_equals_the_one_before_at_every_moment(archiver: Archive) -> None:
    event = new_event()
    first = Session(event, first_frame_ms=HOUR_START_MS - 30_000)
    second = Session(event, origin_ms=40_000, first_frame_ms=HOUR_START_MS - 30_000)
    log = [*first.segments(9), *second.segments(10), first.segment(9, recovered=True), *second.segments(5, first=10)]
    shelf = Shelf(archiver.service.js, archiver.store, archiver.clock)
    for count, segment in enumerate(log):
        await publish(archiver.js, [segment, segment], dedup=False)
        if count % 4 == 3:
            await archiver.compactor.compact(ACCOUNT, event, everything=count == 15)
        old, new = await shelf.index(ACCOUNT, event), await archiver.index(event)
        assert await old.numbered("primary-1") == await new.numbered("primary-1")
        assert await whole(old) == await whole(new)
        assert len(await whole(new)) == count + 1
    numbers = [entry.number for entry in await new.numbered("primary-1")]
    assert numbers == list(range(len(log) - 1))
    late = [entry for entry in await whole(new) if entry.number is None]
    assert sequences(late) == [9]


async def test_the_newest_segments_reach_back_into_closed_hours(archiver: Archive) -> None:
    event = new_event()
    await publish(archiver.js, Session(event, first_frame_ms=HOUR_START_MS - 20_000).segments(12))
    await archiver.compactor.compact(ACCOUNT, event)
    index = await archiver.index(event)
    assert len(index.tail) == 2
    assert sequences(await index.latest("primary-1", 12_000, 4)) == [6, 7, 8, 9, 10, 11]
    assert sequences(await index.latest("primary-1", 1_000_000, 4)) == list(range(12))
    assert await index.latest("backup-1", 12_000, 4) == []


async def test_a_window_over_hours_has_all_of_them_and_counts_the_seams_before_it(archiver: Archive) -> None:
    """Half an hour that lies in two closed hours and the log, behind a seam in the one before."""
    event = new_event()
    first = Session(event, first_frame_ms=HOUR_START_MS - 7_200_000, duration=600 * 90_000)
    second = Session(event, origin_ms=3_000_000, first_frame_ms=HOUR_START_MS - 7_200_000, duration=600 * 90_000)
    await publish(archiver.js, [*first.segments(5), *second.segments(12)])
    await archiver.compactor.compact(ACCOUNT, event)
    index = await archiver.index(event)
    assert len(index.hours) == 3
    found = await index.latest("primary-1", 10 * 600_000, 3)
    numbers = [entry.number for entry in await index.numbered("primary-1")]
    assert [entry.number for entry in found] == numbers[-10:]
    assert {entry.seams for entry in found} == {1}
    assert {hour_of(entry.wall_start_ms) for entry in found} >= {hour.hour for hour in index.hours[-2:]}


async def test_only_what_was_announced_is_in_the_index(archiver: Archive) -> None:
    event = new_event()
    session = Session(event, first_frame_ms=HOUR_START_MS - 20_000)
    await publish(archiver.js, [*session.segments(3), *session.segments(9, first=4)])
    await archiver.compactor.compact(ACCOUNT, event)
    index = await archiver.index(event)
    known = [n for n in range(15) if await index.has(session.session, "primary-1", n)]
    assert known == [0, 1, 2, *range(4, 13)]
    assert await index.has(session.session, "primary-1", None)
    assert not await index.has(session.session, "backup-1", None)
    assert not await index.has("0" * 32, "primary-1", 0)


async def test_an_index_goes_on_with_what_it_has_while_the_broker_is_away(tmp_path: Path) -> None:
    from tests.support.nats import nats_server  # noqa: PLC0415  a server of this test's own

    event = new_event()
    with nats_server(tmp_path / "nats") as server:
        async with archive(server.url, tmp_path) as archiver:
            await publish(archiver.js, Session(event).segments(3))
            shelf = Shelf(archiver.service.js, archiver.store, archiver.clock)
            assert sequences(await (await shelf.index(ACCOUNT, event)).numbered("primary-1")) == [0, 1, 2]
            server.kill()
            assert sequences(await (await shelf.index(ACCOUNT, event)).numbered("primary-1")) == [0, 1, 2]
            server.start()
            await until(lambda: archiver.service.broker.ping(timeout=1))


async def test_the_shelf_forgets_the_events_that_nobody_watches(archiver: Archive) -> None:
    shelf = Shelf(archiver.service.js, archiver.store, archiver.clock, most=2)
    events = [new_event() for _ in range(3)]
    first = await shelf.index(ACCOUNT, events[0])
    for event in events[1:]:
        await shelf.index(ACCOUNT, event)
    assert await shelf.index(ACCOUNT, events[0]) is not first
