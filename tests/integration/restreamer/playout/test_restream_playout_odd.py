"""Playout of odd files: other pictures midway, rates that vary, reordering that begins late, damage, short ranges."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from services.restreamer.model import FLICKS
from services.restreamer.playout import Ended
from services.restreamer.playout.sound.queue import SoundQueue
from services.restreamer.playout.sound.sounds import EncodedSound
from shared.messages.restreams import Encoding
from tests.support.framecode import HEIGHT, WIDTH, ffmpeg, paint
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Stage, item, spec

RATE = 30


def drawn(path: Path, times: list[int], kinds: Callable[[int], PictureType], options: str) -> Path:
    """Encode numbered pictures with given times (in 1/30 s) and kinds, without sound."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "superfast", "x264-params": options}
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, at in enumerate(times):
            frame = av.VideoFrame.from_ndarray(paint(number), format="gray").reformat(format="yuv420p")
            frame.pict_type, frame.pts, frame.time_base = kinds(number), at, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def joined(folder: Path, first: Clip, second: Clip) -> Path:
    """Make an MPEG-TS of two, the second one's times behind the first one's."""
    later = ("-output_ts_offset", str(float(first.frames / first.rate) + 0.1))
    clips = replace(first, suffix=".ts"), replace(second, suffix=".ts", options=later)
    parts = [make(clip, folder / f"part{number}").read_bytes() for number, clip in enumerate(clips)]
    path = folder / "joined.ts"
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("frames", [20, 60])
def test_another_size_midway_is_conformed(frames: int, tmp_path: Path) -> None:
    path = joined(tmp_path, Clip(frames, gop=10), Clip(60, 100, size=(640, 360)))
    stage = Stage(speed=16)
    stage.play(spec(item(path)))
    assert stage.numbers() == [*range(frames), *range(100, 160)]
    assert {unit.track.width for unit in stage.pictures if unit.track} == {WIDTH}
    stage.check()


CODERS = {
    "hevc": Clip(60, 100, codec="libx265", options=("-x265-params", "log-level=none")),
    "av1": Clip(60, 100, codec="libsvtav1", options=("-preset", "12", "-b:v", "2M")),
    "flv1": Clip(60, 100, codec="flv", audio_rate=44_100, options=("-q:v", "3")),
    "mp3": Clip(60, 100, audio="libmp3lame", audio_rate=44_100),
}


@pytest.mark.parametrize("name", CODERS)
def test_another_codec_midway_is_conformed_and_back(name: str, tmp_path: Path) -> None:
    clips = [Clip(60), CODERS[name], Clip(60, 200)]
    parts = [make(replace(clip, suffix=".flv"), tmp_path / str(n)).read_bytes() for n, clip in enumerate(clips)]
    path = tmp_path / "joined.flv"
    path.write_bytes(parts[0] + b"".join(part[13:] for part in parts[1:]))
    stage = Stage(speed=16)
    stage.play(spec(item(path), item(path, (3, 5))))
    assert not stage.warnings()
    whole = [*range(60), *range(100, 160), *range(200, 260)]
    numbers = stage.numbers()
    assert numbers[:180] == whole
    assert numbers[180] in (129, 130, 131)  # FLV's times are rounded, and say little of where a file ended
    assert numbers[181:] == whole[whole.index(numbers[180]) + 1 :][: len(numbers) - 181]
    assert 58 <= len(numbers) - 180 <= 62
    assert {unit.track.codec for unit in stage.pictures if unit.track} == {"h264"}
    stage.check()


def test_av1_joins_a_stream_of_h264(tmp_path: Path) -> None:
    stage = Stage(speed=16)
    stage.play(spec(*(item(make(clip, tmp_path / str(n))) for n, clip in enumerate((Clip(60), CODERS["av1"])))))
    assert [file.how for file in stage.files()] == ["copied", "conformed"]
    assert stage.numbers() == [*range(60), *range(100, 160)]


def test_sound_that_changes_its_channels_unannounced_is_encoded_through(tmp_path: Path) -> None:
    path = joined(tmp_path, Clip(60, audio="libmp3lame"), Clip(60, 100, audio="libmp3lame", channels=2))
    stage = Stage(speed=16)
    stage.play(spec(item(path), encoding=Encoding()))
    assert not stage.warnings()
    assert stage.numbers()[0] == 0
    assert stage.numbers()[-1] == 159
    stage.check()


def test_a_range_without_a_picture_is_left_out(tmp_path: Path) -> None:
    stage = Stage(speed=32)
    path = make(Clip(120), tmp_path / "file")
    stage.play(spec(item(path, (1, 1.5), (1.01, 1.02), (1.5, 2), (1.2, 1.8), (3.9, None)), loops=2))
    assert stage.numbers() == [*range(30, 60), *range(36, 54), *range(117, 120)] * 2
    assert stage.warnings() == ["the file has nothing to show there"] * 2
    assert stage.reports[-1] == Ended()
    stage.check()


def test_a_list_that_played_in_part_has_not_failed(tmp_path: Path) -> None:
    stage = Stage(speed=8)
    stage.shelf.broken["gone"] = "it is gone"
    stage.play(spec(item("gone"), item(make(Clip(30), tmp_path / "file"))))
    assert stage.warnings() == ["it is gone"]
    assert stage.reports[-1] == Ended()


def test_an_out_point_is_exact_where_reordering_begins_late(tmp_path: Path) -> None:
    path = drawn(
        tmp_path / "late.mp4", list(range(120)), lambda number: PictureType.P if 0 < number < 60 else PictureType.NONE,
        "bframes=3:b-adapt=0:scenecut=0",
    )  # fmt: skip
    stage = Stage(speed=32)
    stage.play(spec(item(path, *((0, Fraction(end, RATE)) for end in (100, 101, 102, 103)))))
    assert stage.numbers() == [number for end in (100, 101, 102, 103) for number in range(end)]
    assert [file.how for file in stage.files()] == ["copied"]


@pytest.mark.parametrize("encoding", [None, Encoding(rate_num=25)])
def test_pictures_that_stay_on_last_from_in_to_out_point(encoding: Encoding | None, tmp_path: Path) -> None:
    slides = drawn(tmp_path / "slides.mp4", [0, 300, 330, 450, 456], lambda _: PictureType.NONE, "bframes=0")
    stage = Stage(speed=32)
    ranges = [(0, 5), (0, 3), (5, 12)]
    stage.play(spec(item(slides, *ranges), encoding=encoding))
    begins = [unit.pts for unit in stage.pictures if unit.track]
    lengths = [Fraction(after - before, FLICKS) for before, after in pairwise(begins)]
    assert lengths == [5, 3]
    assert max(unit.pts + unit.duration for unit in stage.pictures) - begins[0] == 15 * FLICKS
    seen = stage.numbers()
    assert seen == [0, 0, 0, 1, 2] if encoding is None else seen[:200] == [0] * 200
    assert [seen.index(1), seen.index(2)] == ([3, 4] if encoding is None else [325, 350])
    assert np.all(np.diff(seen) >= 0)


@pytest.mark.parametrize("encoding", [None, Encoding()])
def test_sound_that_goes_on_without_pictures_is_not_kept(
    encoding: Encoding | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, path = make(Clip(60, audio=None), tmp_path / "pictures"), tmp_path / "long.mp4"
    sound = ("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "1800", "-c:v", "copy", "-c:a", "aac")
    subprocess.run([ffmpeg(), "-v", "error", "-i", str(pictures), *sound, str(path)], check=True, timeout=120)
    kept = [0]
    trim, write = SoundQueue.trim, EncodedSound._write

    def trimmed(lane: SoundQueue, until: int) -> None:
        kept.append(lane.end - until)
        trim(lane, until)

    def written(sound: EncodedSound, until: int) -> None:
        kept.append(sum(samples.shape[1] for _, _, samples in sound._held) * FLICKS // 48_000)
        write(sound, until)

    monkeypatch.setattr(SoundQueue, "trim", trimmed)
    monkeypatch.setattr(EncodedSound, "_write", written)
    stage = Stage(speed=32)
    stage.play(spec(item(path), item(pictures), encoding=encoding))
    assert stage.numbers() == [*range(60), *range(60)]
    assert max(kept) < 700 * FLICKS
    stage.check()
