"""Sound and picture are in step where they are received, whatever a codec's messages can say of times."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.shared_muxer import SharedMuxer
from services.restreamer.targets.srt.ts import TsPacker
from services.restreamer.targets.terms import Tracks
from shared.messages.restreams import Encoding
from tests.support.framecode import AUDIO_RATE, read_number
from tests.support.media_flv import VIDEO, split
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Stage, item, spec
from tests.support.restream_units import flv_of

SECOND = 30
FILES = {
    "h264-b": Clip(90),
    "h264": Clip(90, bframes=0),
    "hevc": Clip(90, codec="hevc"),
    "vp8": Clip(90, codec="libvpx", audio="libopus", suffix=".mkv", options=("-deadline", "realtime", "-b:v", "2M")),
    "vp9": Clip(
        90, codec="libvpx-vp9", audio="libopus", suffix=".mkv", options=("-deadline", "realtime", "-b:v", "2M")
    ),
    "av1": Clip(90, codec="libsvtav1", options=("-preset", "12", "-b:v", "2M")),
}


def received(stage: Stage, form: str, path: Path) -> Path:
    lane = SharedMuxer(RtmpPacker() if form == "rtmp" else TsPacker(), Tracks())
    blocks = [block for unit in stage.out.units for block in lane.feed([unit])]
    path = path.with_suffix(".flv" if form == "rtmp" else ".ts")
    path.write_bytes(flv_of(blocks) if form == "rtmp" else b"".join(block.data for block in blocks))
    return path


def pictures_of(path: Path) -> dict[int, Fraction]:
    """Tell when each numbered picture is shown first."""
    found: dict[int, Fraction] = {}
    if b"vp08" in path.read_bytes()[:2000]:  # which FFmpeg does not read from FLV
        decoder = av.CodecContext.create("vp8", "r")
        for tag in split(path.read_bytes()):
            if tag.kind == VIDEO and not tag.is_config:
                for frame in decoder.decode(av.Packet(tag.body[5:])):
                    assert isinstance(frame, av.VideoFrame)
                    found.setdefault(number_of(frame), Fraction(tag.time, 1000))
        return found
    with av.open(str(path)) as opened:
        for frame in opened.decode(video=0):
            found.setdefault(number_of(frame), Fraction(frame.pts or 0) * (frame.time_base or 0))
    return found


def number_of(frame: av.VideoFrame) -> int:
    return read_number(frame.reformat(320, 180, "gray").to_ndarray())


def apart(path: Path) -> list[float]:
    """Tell by how much each beep comes after the picture of its second, in ms."""
    pictures, parts = pictures_of(path), []
    with av.open(str(path)) as opened:
        resampler = av.AudioResampler("s16", "mono", AUDIO_RATE)
        for frame in opened.decode(audio=0):
            at = Fraction(frame.pts or 0) * (frame.time_base or 0)
            parts += [(at, part.to_ndarray()[0]) for part in resampler.resample(frame)]
    start = parts[0][0]
    sound = np.concatenate([samples for _, samples in parts]).astype(int)
    loud = np.flatnonzero(np.abs(sound) > 3000)
    begins = [int(loud[0]), *(int(b) for a, b in pairwise(loud) if b - a > AUDIO_RATE // 4)]
    heard = [start + Fraction(at, AUDIO_RATE) for at in begins]
    seen = [pictures[number] for number in sorted(pictures) if number % SECOND == 0]
    return [float(beep - picture) * 1000 for beep, picture in zip(heard, seen, strict=True)]


@pytest.mark.parametrize("name", FILES)
def test_a_copied_file_is_in_step(name: str, tmp_path: Path) -> None:
    stage = Stage(speed=32)
    path = make(FILES[name], tmp_path / "file")
    stage.play(spec(item(path), loops=1))
    assert [file.how for file in stage.files()] == ["copied"]
    assert all(abs(ms) < 25 for ms in apart(received(stage, "rtmp", tmp_path / "out")))
    if name.startswith("h"):
        assert all(abs(ms) < 25 for ms in apart(received(stage, "srt", tmp_path / "out")))


@pytest.mark.parametrize("video", ["libx264", "libx265", "libvpx", "libvpx-vp9"])
@pytest.mark.parametrize("audio", ["aac", "libopus", "libmp3lame"])
def test_what_is_encoded_is_in_step(video: str, audio: str, tmp_path: Path) -> None:
    stage = Stage(speed=32)
    stage.play(spec(item(make(Clip(90), tmp_path / "file")), encoding=Encoding(video=video, audio=audio)))
    assert all(abs(ms) < 25 for ms in apart(received(stage, "rtmp", tmp_path / "out")))


@pytest.mark.parametrize("name", ["vp9", "av1", "h264-b"])
def test_times_never_fall_within_a_kind(name: str, tmp_path: Path) -> None:
    stage = Stage(speed=32)
    path = make(FILES[name], tmp_path / "file")
    stage.play(spec(item(path), item(path)))
    with av.open(str(received(stage, "rtmp", tmp_path / "out"))) as opened:
        times: dict[int, list[int]] = {}
        for packet in opened.demux():
            if packet.dts is not None:
                times.setdefault(packet.stream_index, []).append(packet.dts)
    for kind in times.values():
        assert kind == sorted(kind)
        assert len(kind) > 100
