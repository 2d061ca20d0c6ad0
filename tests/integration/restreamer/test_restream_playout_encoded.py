"""Playout of files that are unlike: made alike, encoded as asked for, marked; sound to the sample."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from services.restreamer.model import FLICKS
from shared.messages.restreams import Encoding, Source, Watermark
from tests.support.framecode import HEIGHT, WIDTH, beep_starts
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Stage, item, spec
from tests.support.playout_watched import frames, sound_of, steps

SECOND = 48_000


def test_files_of_other_size_codec_and_rate_join_the_first(tmp_path: Path) -> None:
    clips = [Clip(60), Clip(60, 100, size=(640, 360)), Clip(60, 200, codec="hevc"), Clip(50, 300, rate=Fraction(25))]
    stage = Stage(speed=8)
    stage.play(spec(*(item(make(clip, tmp_path / str(n))) for n, clip in enumerate(clips))))
    assert stage.numbers() == [*range(60), *range(100, 160), *range(200, 260), *range(300, 350)]
    assert [file.how for file in stage.files()] == ["copied", "conformed", "conformed", "copied"]
    assert [file.reason for file in stage.files()][1:3] == [
        "640x360 in a stream of 320x180",
        "hevc in a stream of h264",
    ]
    assert {(unit.track.codec, unit.track.width) for unit in stage.pictures if unit.track} == {("h264", 320)}
    assert len([unit for unit in stage.pictures if unit.track]) == 4
    stage.check()


def test_sound_of_any_kind_becomes_the_first_file_s_to_the_sample(tmp_path: Path) -> None:
    clips = [
        Clip(60), Clip(60, 100, audio=None), Clip(60, 200, audio="libmp3lame"),
        Clip(60, 300, audio_rate=44_100, channels=2), Clip(60, 400),
    ]  # fmt: skip
    stage = Stage(speed=8)
    stage.play(spec(*(item(make(clip, tmp_path / str(n))) for n, clip in enumerate(clips))))
    assert [file.how for file in stage.files()] == ["copied", "copied", "conformed", "conformed", "copied"]
    stage.check()
    _, sound = sound_of(stage.sounds)
    heard = beep_starts(sound)
    assert len(heard) == 8
    assert not np.abs(sound[int(2.1 * SECOND) : int(3.9 * SECOND)]).max() > 300  # nothing where there is no sound
    for at, begin in zip(heard[1:], (1, 4, 5, 6, 7, 8, 9), strict=True):
        assert abs(at - begin * SECOND) <= (1024 if begin >= 8 or begin == 1 else 60)


def test_a_tone_goes_on_over_encoded_joins_without_a_click(tmp_path: Path) -> None:
    path = make(Clip(45, tone=400, audio="flac"), tmp_path / "tone")  # 1.5 s: whole periods
    stage = Stage(speed=8)
    stage.play(spec(item(path), loops=4, encoding=Encoding()))
    stage.check()
    _, sound = sound_of(stage.sounds)
    middle = sound[SECOND // 4 : -SECOND // 4].astype(np.int32)
    steepest = 2 * np.pi * 400 / SECOND * 16_384  # step of the sine; the encoder's own noise comes on top
    assert np.abs(np.diff(middle)).max() < 2 * steepest
    loud = np.abs(middle[: len(middle) // 480 * 480]).reshape(-1, 480).max(axis=1)
    assert loud.min() > 14_000
    periods = middle[: len(middle) // 480 * 480].reshape(-1, 480) @ np.exp(-2j * np.pi * np.arange(480) / 120)
    assert np.abs(np.angle(periods / periods[0])).max() < 0.05  # under half a sample


def test_a_stream_whose_first_file_is_silent_has_sound(tmp_path: Path) -> None:
    stage = Stage(speed=8)
    stage.play(spec(item(make(Clip(60, audio=None), tmp_path / "a")), item(make(Clip(60, 100), tmp_path / "b"))))
    stage.check()
    assert stage.numbers() == [*range(60), *range(100, 160)]
    _, sound = sound_of(stage.sounds)
    assert [round(at / SECOND, 2) for at in beep_starts(sound)] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("encoding", "codecs"),
    [
        (Encoding(video="libx264", kbps=400, width=640, rate_num=25), ("h264", "aac")),
        (Encoding(video="libx265", audio="libmp3lame", height=360, rate_num=25), ("hevc", "mp3")),
        (Encoding(video="libvpx", audio="aac", rate_num=25), ("vp8", "aac")),
        (Encoding(video="libvpx-vp9", audio="libopus", rate_num=25), ("vp9", "opus")),
    ],
)
def test_all_is_encoded_as_asked_for(encoding: Encoding, codecs: tuple[str, str], tmp_path: Path) -> None:
    one, other = make(Clip(75, rate=Fraction(25)), tmp_path / "a"), make(Clip(60, 100), tmp_path / "b")
    stage = Stage(speed=4)
    stage.play(spec(item(one), item(other, (Fraction(1, 2), Fraction(3, 2))), encoding=encoding))
    stage.check()
    assert {file.how for file in stage.files()} == {"transcoded"}
    numbers = stage.numbers()
    assert numbers[:75] == list(range(75))
    assert len(numbers) == 100  # 30 pictures of a second at 30 make 25
    assert numbers[75] == 115
    assert all(before < after <= before + 2 for before, after in pairwise(numbers[75:]))
    assert steps(stage.pictures) == {FLICKS // 25}
    tracks = [unit.track for unit in stage.out.units if unit.track]
    assert {track.codec for track in tracks} == set(codecs)
    size = (encoding.width or (encoding.height or HEIGHT) * 16 // 9, (encoding.height or HEIGHT))
    if not encoding.width:
        assert {(track.width, track.height) for track in tracks if track.kind == "video"} == {size}
    keys = [unit.pts for unit in stage.pictures if unit.key]
    assert all(after - before <= 2 * FLICKS for before, after in pairwise(keys))
    _, sound = sound_of(stage.sounds)
    assert [abs(at - begin * SECOND) < 60 for at, begin in zip(beep_starts(sound)[1:], (1, 2, 3.5), strict=True)]


@pytest.mark.parametrize(
    "corner",
    [f"{row}_{column}" for row in ("TOP", "CENTER", "BOTTOM") for column in ("LEFT", "CENTER", "RIGHT")],
)
def test_a_watermark_lies_where_it_is_asked_for(corner: str, tmp_path: Path) -> None:
    corner = corner.replace("CENTER_CENTER", "CENTER")
    stage = Stage(speed=8)
    picture = np.zeros((20, 40, 4), np.uint8)
    picture[..., :3], picture[..., 3] = 255, 255
    stage.shelf.pictures["mark"] = picture
    mark = Watermark(
        source=Source(kind="library", location="mark", shown="mark"), corner=corner, margin=8, scale=25, opacity=50
    )
    plain = make(Clip(6, 3), tmp_path / "file")
    stage.play(spec(item(plain, mark=mark)))
    without = Stage(speed=8)
    without.play(spec(item(plain)))
    assert stage.files()[0].how == "transcoded"
    marked, bare = (s.pictures for s in (stage, without))
    brighter = np.mean([a.astype(int) - b for (_, a), (_, b) in zip(frames(marked), frames(bare), strict=True)], axis=0)
    rows, columns = np.nonzero(brighter > 12)
    wide, high = WIDTH // 4, WIDTH // 8
    row, _, column = corner.partition("_")
    left = {"LEFT": 8, "RIGHT": WIDTH - 8 - wide}.get(column, (WIDTH - wide) // 2)
    top = {"TOP": 8, "BOTTOM": HEIGHT - 8 - high}.get(row, (HEIGHT - high) // 2)
    found = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
    assert np.abs(np.array(found) - (left, left + wide, top, top + high)).max() <= 2
