"""What is told of a publisher: its tracks that cannot be recorded, its numbers, and what is wrong with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.gateway.domain.jobs.publishers import publisher_at
from services.ingester.publication import Frame
from services.ingester.recorder.stats import MOST_TRACKS, PublisherStats
from services.ingester.rtmp.codecs import CodecWatch
from services.ingester.status import Monitor
from shared.media.tracks import TrackConfig
from shared.messages.sessions import SessionRecord
from shared.rtmp.chunks import AUDIO, VIDEO
from tests.support.media_recording import SteppedClock
from tests.support.rtmp_client import AAC_HEADER, AVC_HEADER
from tests.support.shared_bus import new_id

S = 1_000_000_000
VVC, VVC_FRAME, VP8 = b"\x90vvc1\x81\x00", b"\xa1vvc1\x12\x00", b"\x91vp08\x00\x00"
HEVC, OPUS, SPX, PCM = b"\x90hvc1\x01\x02", b"\x90OpusOpusHead", b"\xb3\x00\x00", b"\x3f\x00\x00"
SPEEX, H263 = b"\xb2\xff\xfb", b"\x12\x00\x00"
PICTURE: dict[str, Any] = {"videocodecid": 1635135537.0}
ALL: dict[str, Any] = {"videocodecid": 1635135537.0, "audiocodecid": 10.0}


@pytest.mark.parametrize(
    ("metadata", "messages", "hopeless_at", "unfit"),
    [
        (
            {"videocodecid": 1.0},
            [(VIDEO, VVC, 0), (VIDEO, VVC_FRAME, S // 4), (VIDEO, VVC_FRAME, S)],
            2,
            ("VVC video",),
        ),
        (
            {"videocodecid": 1.0},
            [(VIDEO, VP8, 0), (AUDIO, AAC_HEADER, S // 4), (VIDEO, VP8, 9 * S)],
            None,
            ("VP8 video",),
        ),
        ({}, [(VIDEO, VVC, 0), (VIDEO, VVC_FRAME, S), (VIDEO, VVC_FRAME, 3 * S)], 2, ("VVC video",)),
        ({}, [(AUDIO, SPEEX, 0), (VIDEO, AVC_HEADER, 2 * S), (AUDIO, SPEEX, 9 * S)], None, ("Speex audio",)),
        ({}, [(VIDEO, VVC, 0), (AUDIO, SPX, 1)], 1, ("VVC video", "Speex audio")),
        ({}, [(AUDIO, PCM, 0), (VIDEO, H263, 1)], 1, ("Sorenson H.263 video", "PCM audio")),
        ({"audiocodecid": 11.0}, [(AUDIO, SPEEX, 0), (AUDIO, SPEEX, S)], 1, ("Speex audio",)),
        (ALL, [(VIDEO, VVC, 0), (VIDEO, VVC_FRAME, 9 * S), (VIDEO, VVC_FRAME, 10 * S)], 2, ("VVC video",)),
        (ALL, [(VIDEO, VVC, 0), (AUDIO, AAC_HEADER, 0), (VIDEO, VVC_FRAME, 60 * S)], None, ("VVC video",)),
        (ALL, [(VIDEO, VVC, 0), (AUDIO, OPUS, 5 * S), (VIDEO, VVC_FRAME, 60 * S)], None, ("VVC video",)),
        ({}, [(AUDIO, SPEEX, 0), (VIDEO, AVC_HEADER, S // 2), (AUDIO, SPEEX, 9 * S)], None, ("Speex audio",)),
        ({}, [(VIDEO, HEVC, 0), (AUDIO, SPEEX, 9 * S)], None, ()),
        ({}, [(VIDEO, b"", 0), (VIDEO, b"\x90", S), (VIDEO, b"\x57\x00", 9 * S)], None, ()),
    ],
)
def test_a_publisher_is_hopeless_when_nothing_of_it_can_be_recorded(
    metadata: dict[str, Any], messages: list[tuple[int, bytes, int]], hopeless_at: int | None, unfit: tuple[str, ...]
) -> None:
    watch = CodecWatch()
    watch.announce(metadata)
    said = [watch.look(*message) for message in messages]
    assert said == [hopeless_at is not None and at >= hopeless_at for at in range(len(messages))]
    assert watch.unfit == unfit


def frame(dts: int, *, sync: bool = False, kind: str = "video") -> Frame:
    codec: Any = "h264" if kind == "video" else "aac"
    config = TrackConfig(1, kind, codec, 90000, b"", 640, 360, 48000, 2)  # type: ignore[arg-type]
    return Frame(config, dts, 0, sync, b"x" * 100)


def test_a_warning_comes_once_for_each_new_track_and_not_for_data() -> None:
    stats, warned = PublisherStats(), []
    stats.warn = warned.append
    for names in (
        {"MP2 or MP3 audio"},
        {"MP2 or MP3 audio"},
        {"MP2 or MP3 audio", "private data", "DVB subtitles"},
        {"MP2 or MP3 audio", "AC-3 audio"},
        {f"{n:04} video" for n in range(99)},
    ):
        stats.meet(names)
    assert warned[:2] == [("MP2 or MP3 audio",), ("AC-3 audio", "MP2 or MP3 audio")]
    assert len(warned) == 3
    assert len(stats.unsupported) == MOST_TRACKS


def test_a_status_tells_how_things_stand() -> None:
    clock, stats = SteppedClock(), PublisherStats()
    session = SessionRecord(account="main", event=new_id(), session=new_id(), protocol="srt", instance="a",
                            first_frame_ms=1, origin_ms=0)  # fmt: skip
    line = SimpleNamespace(peer="192.0.2.1:5", dropped_frames=0, lost_packets=3)
    monitor = Monitor(session, line, stats, clock)
    empty = monitor.look()
    assert (empty.frame_rate, empty.bitrate, empty.warnings) == (
        0.0,
        0,
        ("3 packets were lost on the way: a larger latency may help",),
    )
    began = clock.now_ms()
    for number in range(125):
        clock.pass_ms(40)
        stats.bytes += 5000
        jumped = 900_000 if number > 100 else 0  # and no rate of 0.1 pictures a second comes of it
        stats.take(frame(number * 3600 + jumped, sync=number % 50 == 0), clock.now_ms())
        stats.take(frame(number * 3600, kind="audio"), clock.now_ms())
    stats.jumps = 1
    status = monitor.look()
    assert (status.video_codec, status.audio_codec, status.width, status.height) == ("h264", "aac", 640, 360)
    assert (status.frame_rate, status.bitrate, status.frames, status.keyframes) == (25.0, 1_000_000, 125, 3)
    assert status.last_keyframe_ms == began + 101 * 40
    assert status.peer == "192.0.2.1:5"
    assert "the encoder's time stamps jumped (1 times)" in status.warnings
    assert monitor.look().frame_rate == 25.0  # at once after it
    clock.pass_ms(20_000)
    late = monitor.look()
    assert (late.frame_rate, late.bitrate) == (0.0, 0)
    assert any("no keyframe for 20 s" in text for text in late.warnings)
    last = monitor.look("disconnected")
    assert (last.ended_ms, last.reason) == (clock.now_ms(), "disconnected")
    shown = [
        publisher_at(status, status.updated_ms + ms).state for status, ms in ((late, 0), (late, 31_000), (last, 99_999))
    ]
    assert shown == ["live", "lost", "ended"]


@pytest.mark.parametrize(
    ("announced", "came", "told"),
    [
        (("video", "audio"), "audio", ["no picture"]),
        (("video", "audio"), "video", ["no sound"]),
        (("audio",), "audio", []),
        (("video",), "video", []),
    ],
)
def test_an_announced_track_that_does_not_come_is_told(announced: tuple[str, ...], came: str, told: list[str]) -> None:
    clock, stats = SteppedClock(), PublisherStats()
    session = SessionRecord(account="main", event=new_id(), session=new_id(), protocol="srt", instance="a",
                            first_frame_ms=1, origin_ms=0)  # fmt: skip
    monitor = Monitor(session, SimpleNamespace(peer="", dropped_frames=0, lost_packets=0), stats, clock)
    stats.announced = announced
    stats.take(frame(0, kind=came, sync=True), clock.now_ms())
    assert monitor.look().warnings == (), "it may still come"
    clock.pass_ms(9000)
    assert [text[: len(start)] for text, start in zip(monitor.look().warnings, told, strict=True)] == told
