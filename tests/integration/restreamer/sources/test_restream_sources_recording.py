"""Recordings and running events of our own as sources."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import cast

import pytest

from services.archiver.compaction import Compactor
from services.archiver.records import RecordingRecords
from services.restreamer.model import FLICKS, Media, Packet, SourceError, Track
from services.restreamer.sources import Access, Stopped, resolve_range
from services.restreamer.sources.recorded import recordings as sources_recordings
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.media.transcode.decoder import SoundDecoder
from shared.messages.base import Message
from shared.messages.media import RecordingRebuild, SegmentWritten
from shared.messages.recordings import HourSummary
from shared.messages.restreams import Range
from shared.messages.sessions import SessionRecord
from shared.recording.asking import Asking
from shared.runtime.clock import SystemClock
from tests.support.clipper_desk import ACCOUNT, Desk
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import connected, until
from tests.support.shared_bus import settings_for
from tests.support.sources import QUICK, access_to, check_times, numbers, opened, seconds

SIX = Spec(seconds=Fraction(6))
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    """Two sessions of one encoder, and one of another codec."""
    folder = tmp_path_factory.mktemp("recordings")
    return {
        "first": record(SIX, folder / "first"),
        "second": record(replace(SIX, first_number=180), folder / "second"),
        "hevc": record(replace(SIX, codec="hevc", first_number=180, audio=None), folder / "hevc"),
        "sound": record(replace(SIX, video=False), folder / "sound"),
    }


@pytest.fixture
async def desk(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        yield Desk(js, settings_for(nats, tmp_path))


def access_of(desk: Desk) -> Access:
    limits = replace(QUICK, patience=timedelta(seconds=10), live_return=timedelta(seconds=1))
    return access_to(
        desk.settings.data_dir, js=lambda: desk.js, loop=asyncio.get_running_loop(), store=desk.store, limits=limits
    )


async def begin(desk: Desk, kind: str = "recording") -> Media:
    return await asyncio.to_thread(opened, kind, desk.event, access_of(desk))


def is_about(flicks: int | None, count: float) -> bool:
    """Tell whether a time is that many seconds, as near as the encoder's milliseconds are."""
    return flicks is not None and abs(flicks - seconds(count)) <= FLICKS // 1000


async def read(media: Media, start: float) -> list[Packet]:
    packets = await asyncio.to_thread(lambda: list(media.packets(start if isinstance(start, int) else seconds(start))))
    check_times(packets)
    return packets


@pytest.mark.parametrize("codec", ["mp2", "mp3", "ac3", "eac3"])
async def test_sound_of_every_recorded_codec_is_read_and_decoded(desk: Desk, tmp_path: Path, codec: str) -> None:
    await desk.announce(desk.session(record(replace(SIX, audio=codec), tmp_path / codec)))
    media = await begin(desk)
    packets = [packet for packet in await read(media, 0) if packet.kind == "audio"]
    assert media.audio is not None
    assert (media.audio.codec, media.audio.sample_rate, media.audio.channels) == (codec, 48_000, 1)
    decoder = SoundDecoder(media.audio)
    samples = sum(frame.samples for packet in packets for frame in decoder.push(packet))
    assert samples == pytest.approx(6.25 * 48_000, abs=9_000)


async def test_a_recording_is_one_file_on_stream_time(desk: Desk, recordings: dict[str, Recording]) -> None:
    await desk.announce(desk.session(recordings["first"]))
    media = await begin(desk)
    packets = await read(media, 0)
    assert numbers(media.video, packets) == list(range(180))
    first = next(p for p in packets if p.kind == "video")
    assert is_about(first.pts, 0)
    assert media.wall_start_ms is not None
    assert abs(media.wall_start_ms - desk.begun_ms) <= 1
    assert media.video is not None
    assert media.video.rate == 30
    assert media.resumes is None
    later = await read(media, 3.0)
    assert numbers(media.video, later) == list(range(60, 180))
    wall = Range(clock="wall", start=desk.begun_ms + 3000, end=desk.begun_ms + 4000)
    start, end = await asyncio.to_thread(resolve_range, media, wall)
    assert (round(start / FLICKS, 2), round((end or 0) / FLICKS, 2)) == (3, 4)


async def test_a_gap_and_a_reconnect_are_seams(desk: Desk, recordings: dict[str, Recording]) -> None:
    first = desk.session(recordings["first"])
    second = desk.session(recordings["hevc"], origin_ms=3_600_000)
    await desk.announce([first[0], *first[2:], *second])
    media = await begin(desk)
    track = media.video
    assert numbers(track, await read(media, 0)) == list(range(60))
    gap = media.resumes
    assert is_about(gap, 4)
    assert numbers(track, await read(media, gap or 0)) == list(range(120, 180))
    back = media.resumes
    assert is_about(back, 3600)
    assert media.video is not None
    assert (media.video.codec, media.audio) == ("hevc", None)
    assert numbers(media.video, await read(media, back or 0)) == list(range(180, 360))
    assert media.resumes is None
    assert numbers(media.video, await read(media, 3604.5)) == list(range(300, 360))
    hour = Range(clock="wall", start=desk.begun_ms + 3_601_000)
    start, _ = await asyncio.to_thread(resolve_range, media, hour)
    assert abs(start - seconds(3601)) < FLICKS // 100


@pytest.mark.parametrize("minutes", [19, 45, 120, 2000])
async def test_what_comes_after_a_long_gap_is_not_passed_over(
    desk: Desk, recordings: dict[str, Recording], minutes: int
) -> None:
    second = desk.session(recordings["second"], origin_ms=minutes * 60_000)
    await desk.announce([*desk.session(recordings["first"]), *second])
    media = await begin(desk)
    await read(media, 0)
    assert is_about(media.resumes, minutes * 60)


async def test_a_segment_that_is_gone_is_a_gap(desk: Desk, recordings: dict[str, Recording]) -> None:
    segments = desk.session(recordings["first"])
    await desk.announce(segments)
    desk.store.path(segments[1].key).unlink()
    media = await begin(desk)
    assert numbers(media.video, await read(media, 0)) == list(range(60))
    assert is_about(media.resumes, 4)
    assert numbers(media.video, await read(media, media.resumes or 0)) == list(range(120, 180))


async def test_sound_alone_is_a_recording_too(desk: Desk, recordings: dict[str, Recording]) -> None:
    segments = desk.session(replace(recordings["sound"], shown=(Fraction(0),)))
    scale = 48000
    await desk.announce([s.model_copy(update={"timescale": scale, "zero": 0, "keyframes": ()}) for s in segments])
    media = await begin(desk)
    assert media.video is None
    packets = await read(media, 3.0)
    assert packets[0].pts <= seconds(3) < packets[0].pts + packets[0].duration


async def test_what_is_not_recorded_is_told(desk: Desk) -> None:
    with pytest.raises(SourceError, match="no such recording"):
        await begin(desk)
    with pytest.raises(SourceError, match="nothing is recorded"):
        await begin(desk, "live")
    with pytest.raises(SourceError, match="32 hex digits"):
        opened("recording", "../other", access_of(desk))


@dataclass
class Viewer:
    """Reads a running event in a thread, over its seams."""

    media: Media
    stop: threading.Event
    parts: list[tuple[Track | None, list[Packet]]] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        start = 0
        while True:
            self.parts.append((self.media.video, []))
            try:
                for packet in self.media.packets(start):
                    self.parts[-1][1].append(packet)
            except Stopped:
                return
            if self.media.resumes is None:
                return
            start = self.media.resumes

    async def saw(self, pictures: int, part: int = 0) -> None:
        """Wait until so many pictures of a part have come."""

        async def enough() -> bool:
            return len(self.parts) > part and sum(p.kind == "video" for p in self.parts[part][1]) >= pictures

        await until(enough)


async def session_is(desk: Desk, segment: SegmentWritten, ended_ms: int | None) -> None:
    session = SessionRecord(
        account=ACCOUNT, event=desk.event, session=segment.session, protocol="rtmp", instance="a",
        first_frame_ms=desk.begun_ms, origin_ms=0, ended_ms=ended_ms,
    )  # fmt: skip
    bucket = Bucket(lambda: desk.js, "sessions", SessionRecord)
    await bucket.change(f"{ACCOUNT}.{desk.event}.{segment.session}", lambda _: session)


async def test_a_running_event_is_followed_part_by_part_until_it_ends(
    desk: Desk, recordings: dict[str, Recording]
) -> None:
    segments = desk.session(recordings["first"])
    again = desk.session(recordings["second"], origin_ms=20_000)
    growing = desk.store.path(segments[2].key)
    whole = growing.read_bytes()
    growing.unlink()
    await session_is(desk, segments[0], None)
    await desk.announce(segments[:1])
    later = desk.store.path(segments[1].key)
    hidden = later.rename(later.with_suffix(".hidden"))
    media = await begin(desk, "live")
    viewer = Viewer(media, threading.Event())
    await viewer.saw(60)
    hidden.rename(later)  # it is there before it is announced
    await viewer.saw(120)
    await desk.announce(segments[1:2])
    half = whole.index(b"moof", len(whole) // 2) - 4
    growing.write_bytes(whole[: half + 500])  # parts, and one that is being written
    await viewer.saw(135)
    assert len(viewer.parts[0][1]) < 400
    with growing.open("ab") as file:
        file.write(whole[half + 500 :])
    await desk.announce(segments[2:])
    await viewer.saw(180)
    await session_is(desk, segments[0], desk.begun_ms + 6000)
    await desk.announce(again[:1])  # back before the wait is over
    await session_is(desk, again[0], None)
    await viewer.saw(120, part=1)  # what is written and not announced, too
    await desk.announce(again[1:])
    await viewer.saw(180, part=1)
    await session_is(desk, again[0], desk.begun_ms + 26_000)
    await asyncio.to_thread(viewer.thread.join, 60)
    assert not viewer.thread.is_alive()
    (track, first), (_, second) = viewer.parts
    check_times(first)
    check_times(second)
    assert numbers(track, first) == list(range(180))
    assert numbers(track, second) == list(range(180, 360))
    assert second[0].pts >= seconds(19.9)


async def test_a_stop_ends_the_wait_for_a_running_event(desk: Desk, recordings: dict[str, Recording]) -> None:
    segments = desk.session(recordings["first"])
    await session_is(desk, segments[0], None)
    await desk.announce(segments[2:])
    stop = threading.Event()
    media = await asyncio.to_thread(opened, "live", desk.event, access_of(desk), stop)
    viewer = Viewer(media, stop)
    await viewer.saw(60)
    stop.set()
    await asyncio.to_thread(viewer.thread.join, 10)
    assert not viewer.thread.is_alive()


async def test_a_broker_that_is_away_delays_a_recording(tmp_path: Path, recordings: dict[str, Recording]) -> None:
    with nats_server(tmp_path) as server:
        async with connected(server.url) as js:
            desk = Desk(js, settings_for(server, tmp_path))
            await desk.announce(desk.session(recordings["first"]))
            access = access_of(desk)
            media = await asyncio.to_thread(opened, "recording", desk.event, access)
            await asyncio.to_thread(server.kill)
            reading = asyncio.create_task(read(media, 0))
            done, _ = await asyncio.wait({reading}, timeout=0.5)
            assert not done
            await asyncio.to_thread(server.start)
            assert numbers(media.video, await reading) == list(range(180))


class Archiver:
    """Compacts a desk's recording, and rebuilds hours for whoever asks."""

    def __init__(self, desk: Desk) -> None:
        records = RecordingRecords(lambda: desk.js)
        outbox = cast("Outbox", self)  # what it announces, nobody hears here
        self.compactor = Compactor(lambda: desk.js, desk.store, records, outbox, SystemClock())
        self.records, self.desk = records, desk
        self.asked: list[str] = []

    async def emit(self, message: Message) -> int:
        if isinstance(message, RecordingRebuild):
            self.asked.append(message.key)
            await self.compactor.rebuilder.rebuild(message.account, message.event, {message.hour})
        return 0

    async def close_hours(self) -> tuple[HourSummary, ...]:
        await self.compactor.compact(ACCOUNT, self.desk.event, everything=True)
        stored = await self.records.recording(ACCOUNT, self.desk.event)
        assert stored is not None
        return stored.value.hours

    async def media(self) -> Media:
        access = replace(access_of(self.desk), asking=Asking(self, SystemClock()))
        return await asyncio.to_thread(opened, "recording", self.desk.event, access)


async def test_an_hour_that_cannot_be_read_is_rebuilt_on_the_way(desk: Desk, recordings: dict[str, Recording]) -> None:
    first = desk.session(recordings["first"])
    await desk.announce([*first, *desk.session(recordings["second"], origin_ms=7_200_000)])
    archiver = Archiver(desk)
    hours = await archiver.close_hours()
    for hour in hours:
        desk.store.delete(hour.key)
    media = await archiver.media()
    assert numbers(media.video, await read(media, 0)) == list(range(180))
    assert numbers(media.video, await read(media, media.resumes or 0)) == list(range(180, 360))
    assert set(archiver.asked) == {hour.key for hour in hours}


async def test_an_hour_that_is_lost_is_a_gap_at_the_beginning_too(
    desk: Desk, recordings: dict[str, Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind it plays; one that comes back, plays, too."""
    monkeypatch.setattr(sources_recordings, "REBUILT_NS", 500_000_000)
    first = desk.session(recordings["first"])
    await desk.announce([*first, *desk.session(recordings["second"], origin_ms=7_200_000)])
    archiver = Archiver(desk)
    hours = await archiver.close_hours()
    await desk.js.purge_stream(SEGMENTS, subject=segments_subject(ACCOUNT, desk.event))
    away = desk.store.path(f"live/{desk.event}/{first[0].session}")
    away.rename(away.with_name("away"))
    desk.store.delete(hours[0].key)
    media = await archiver.media()
    assert numbers(media.video, await read(media, 0)) == list(range(180, 360))
    assert hours[0].key in archiver.asked
