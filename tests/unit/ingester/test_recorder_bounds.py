"""What a stream may cost that changes all the time, or whose sound is larger than its time says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from services.ingester.publication import Arrival, Frame
from services.ingester.recorder.cuts import MOST_EARLY
from services.ingester.recorder.model import RecorderLimits, SegmentInfo
from services.ingester.recorder.session import Session
from shared.media.bitstream.mpeg_audio import read_mpeg_audio, silent_frame
from shared.media.mp4.entries import mpeg_config, video_config
from shared.media.mp4.fragments import read_fragments
from shared.media.tracks import TrackConfig

ARRIVAL = Arrival(5_000_000_000, 1_700_000_000_000)
SMALL = bytes.fromhex("6764000d22cd941419f9e10000030001000003003c0f142996")
LARGE = bytes.fromhex("6764000aacd9430b2d808800000300080000030190789225")
PPS, KEY = bytes.fromhex("68ebe3cb22c0"), bytes.fromhex("0000000465888400")


class Kept:
    """Keeps what a session hands over."""

    def __init__(self, folder: Path, limits: RecorderLimits | None = None) -> None:
        self.folder, self.segments = folder, list[SegmentInfo]()
        self.session = Session(folder.joinpath, self, limits or RecorderLimits())

    def started(self, first_frame_ms: int, lead: int) -> None:
        """Nothing is expected of it."""

    def segment(self, info: SegmentInfo) -> None:
        self.segments.append(info)

    def sound(self, config: TrackConfig, at: int, payload: bytes, samples: int) -> None:
        frame = Frame(config, at, 0, True, payload, samples)
        self.session.take(frame, ARRIVAL, expects_video=False, expects_audio=True)


def mp3(rate: int) -> tuple[TrackConfig, bytes, int]:
    payload = silent_frame("mp3", rate, 2)
    assert payload is not None
    read = read_mpeg_audio(payload, 0)
    assert read is not None
    return mpeg_config(read), payload, read.samples


def test_sound_that_changes_with_every_frame_makes_few_segments(tmp_path: Path) -> None:
    kept, forms, at, frames = Kept(tmp_path), [mp3(44100), mp3(48000)], 0, 0
    while at < 60 * 90_000:
        config, payload, samples = forms[frames % 2]
        kept.sound(config, at, payload, samples)
        at += samples * 90_000 // config.timescale
        frames += 1
    kept.session.finish()
    assert frames > 2_000
    assert MOST_EARLY < len(kept.segments) <= MOST_EARLY + 2 * 30 + 2


def test_pictures_that_change_with_every_key_frame_make_few_segments(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    forms = [video_config("h264", b"\0\0\0\1" + sps + b"\0\0\1" + PPS, 90_000) for sps in (SMALL, LARGE)]
    assert forms[0] != forms[1]
    for number in range(60 * 30):
        frame = Frame(forms[number % 2], number * 3000, 0, True, KEY)
        kept.session.take(frame, ARRIVAL, expects_video=True, expects_audio=False)
    kept.session.finish()
    assert MOST_EARLY < len(kept.segments) <= MOST_EARLY + 2 * 30 + 2
    assert sum(len(read_fragments(info.path).tables[1]) for info in kept.segments) >= 60 * 30 // 2


def test_a_change_now_and_then_is_taken_at_once(tmp_path: Path) -> None:
    kept, forms, at, frames = Kept(tmp_path), [mp3(44100), mp3(48000)], 0, 0
    while at < 120 * 90_000:
        config, payload, samples = forms[at // (7 * 90_000) % 2]
        kept.sound(config, at, payload, samples)
        at += samples * 90_000 // config.timescale
        frames += 1
    kept.session.finish()
    written = sum(len(read_fragments(info.path).tables[2]) for info in kept.segments)
    assert written == frames


def test_sound_of_absurd_size_is_written_before_its_time(tmp_path: Path) -> None:
    limits = RecorderLimits(part_bytes=1 << 20, largest=4 << 20)
    kept, (config, _, samples), at = Kept(tmp_path, limits), mp3(48000), 0
    for number in range(40):  # a second's 40 MB
        kept.sound(config, at, bytes(1 << 20), samples)
        at += samples * 90_000 // config.timescale
        on_disk = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert on_disk >= (number - 3) << 20
    kept.session.finish()
    assert max(info.bytes for info in kept.segments) < 6 << 20


def test_a_further_track_of_absurd_size_is_written_before_its_time(tmp_path: Path) -> None:
    limits = RecorderLimits(part_bytes=1 << 20, largest=4 << 20)
    kept, (config, payload, samples) = Kept(tmp_path, limits), mp3(48000)
    other = replace(config, track_id=3)
    kept.sound(other, 0, payload, samples)
    for number in range(60):
        kept.sound(config, number * 2160, payload, samples)
    for number in range(1, 40):  # it goes on alone
        kept.sound(other, number * 2160, bytes(1 << 20), samples)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) >= (number - 4) << 20
    kept.session.finish()
    assert sum(len(read_fragments(info.path).tables[3]) for info in kept.segments) == 40
