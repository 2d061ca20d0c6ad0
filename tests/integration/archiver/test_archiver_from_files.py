"""Index objects that neither store nor log has any more are rebuilt from the media files, as these say."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper import footage
from services.clipper.cutter import ClipCutter
from shared.broker.kv import Bucket
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.messages.media import SegmentWritten
from shared.messages.ranges import Selection
from shared.messages.sessions import SessionRecord
from shared.recording import RecordingPart, load_range
from shared.recording.hours import load_hour
from tests.support import media_streams as media
from tests.support.archive import Archive, archive
from tests.support.archive_damage import H, gone, zeroed
from tests.support.media_recording import Recorded, pieces
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, Session, new_event, publish


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path) as made:
        yield made


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
    segments = (await part(archiver, event, 0, 12)).segments
    before = ClipCutter(archiver.store).exact(
        footage.Footage((footage.Recorded(segments, start, end, end),)), "clips/a", stop
    )
    await forget_the_log(archiver, event)
    if not has_session:
        bucket = Bucket(archiver.service.js, "sessions", SessionRecord)
        await bucket.delete(f"{ACCOUNT}.{event}.{announced[0].session}")
    zeroed(archiver, record.hours[0].key)
    await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    found = await part(archiver, event, 0, 12)
    after = ClipCutter(archiver.store).exact(
        footage.Footage((footage.Recorded(found.segments, start, end, end),)), "clips/b", stop
    )
    assert after.gaps == before.gaps == ()
    assert after.file.frames == before.file.frames
    pictures = [media.frame_hashes(made.draft) for made in (before, after)]
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
