"""Playout of files that have sound alone, or pictures alone: an output has both, all the time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from services.restreamer.model import FLICKS
from shared.messages.restreams import Encoding
from tests.support.framecode import beep_starts
from tests.support.playout_files import Clip, make
from tests.support.playout_pictures import corners, run, shown
from tests.support.playout_stage import Stage, item, spec
from tests.support.playout_watched import sound_of, steps

SECOND = 48_000
FORMS = {
    "sound.m4a": ("-c:a", "aac"),
    "sound.mov": ("-c:a", "pcm_s16le"),
    "sound.flv": ("-c:a", "aac"),
    "sound.ts": ("-c:a", "aac"),
    "sound.mka": ("-c:a", "flac"),
    "mp3.mp4": ("-c:a", "libmp3lame"),
}


def sound_alone(folder: Path, name: str = "sound.m4a") -> Path:
    """Make three seconds of sound that beeps at each."""
    path = folder / name
    run(
        "-i", make(Clip(90, codec="ffv1", audio="pcm_s16le", suffix=".mkv"), folder / "both"), "-vn", *FORMS[name], path
    )
    return path


@pytest.mark.parametrize("name", FORMS)
def test_sound_alone_is_played_before_black(name: str, tmp_path: Path) -> None:
    stage = Stage(speed=32)
    stage.play(spec(item(sound_alone(tmp_path, name))))
    assert not stage.warnings()
    assert "it has no pictures" in stage.files()[0].reason
    stage.check()
    seen = shown(stage.pictures)
    assert {(s.frame.width, s.frame.height) for s in seen} == {(1280, 720)}
    assert all(s.rgb.max() < 10 for s in seen)
    assert steps(stage.pictures) == {FLICKS // 25}
    assert abs(len(seen) - 75) <= 2
    _, sound = sound_of(stage.sounds)
    assert all(abs(at - n * SECOND) < 1600 for n, at in enumerate(beep_starts(sound)))
    assert len(beep_starts(sound)) == 3


def test_a_hole_of_an_hour_in_sound_alone_is_closed_as_with_pictures(tmp_path: Path) -> None:
    path = tmp_path / "hole.m4a"
    run("-i", sound_alone(tmp_path), "-c", "copy", "-bsf:a", "setts=ts='TS+gt(N,70)*3600/TB'", path)
    stage = Stage(speed=32)
    stage.play(spec(item(path), item(make(Clip(30), tmp_path / "next"))))
    stage.check()
    assert len(stage.files()) == 2
    pictures = [unit for unit in stage.pictures if unit.pts < stage.pictures[-1].pts - FLICKS]
    assert abs(len(pictures) - 75) <= 4
    _, sound = sound_of(stage.sounds)
    assert len(beep_starts(sound)) == 4  # of the hole's ends one is heard each


def test_sound_alone_joins_a_stream_of_pictures_and_is_cut_to_its_points(tmp_path: Path) -> None:
    pictures, sound = make(Clip(60), tmp_path / "file"), sound_alone(tmp_path)
    stage = Stage(speed=32)
    stage.play(spec(item(pictures), item(sound, (0.5, 2.5)), item(pictures), loops=2))
    assert not stage.warnings()
    stage.check()
    assert [file.how for file in stage.files()] == ["copied", "conformed", "copied"] * 2
    numbers = stage.numbers()
    assert numbers == [*range(60), *[-1] * 60, *range(60)] * 2
    assert {unit.track.width for unit in stage.pictures if unit.track} == {320}
    _, heard = sound_of(stage.sounds)
    begins = [0, 1, 2.5, 3.5, 4, 5]
    expected = [begin + loop for loop in (0, 6) for begin in begins]
    assert [round(at / SECOND, 1) for at in beep_starts(heard)] == expected


@pytest.mark.parametrize("encoding", [None, Encoding(width=640, height=480)])
def test_a_cover_is_shown_with_its_sound(encoding: Encoding | None, tmp_path: Path) -> None:
    cover, path = tmp_path / "cover.png", tmp_path / "covered.m4a"
    run("-i", corners(tmp_path / "corners.mp4"), "-frames:v", 1, "-s", "300x300", cover)
    run(
        "-i",
        sound_alone(tmp_path),
        "-i",
        cover,
        "-map",
        0,
        "-map",
        1,
        "-c",
        "copy",
        "-disposition:v",
        "attached_pic",
        path,
    )
    stage = Stage(speed=32)
    stage.play(spec(item(path), encoding=encoding))
    assert not stage.warnings()
    stage.check()
    for seen in shown(stage.pictures):
        high, wide = seen.rgb.shape[:2]
        inner = seen.rgb[:, (wide - high) // 2 : (wide + high) // 2]
        assert seen.rgb[:, : (wide - high) // 2 - 2].max() < 30
        places = [inner[y, x] > 128 for y in (high // 4, 3 * high // 4) for x in (high // 4, 3 * high // 4)]
        assert np.array_equal(places, [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])


def test_a_cover_that_cannot_be_decoded_is_black(tmp_path: Path) -> None:
    plain, path = sound_alone(tmp_path), tmp_path / "covered.m4a"
    cover = tmp_path / "cover.png"
    run("-i", corners(tmp_path / "corners.mp4"), "-frames:v", 1, cover)
    run("-i", plain, "-i", cover, "-map", 0, "-map", 1, "-c", "copy", "-disposition:v", "attached_pic", path)
    data = path.read_bytes()
    at = data.index(b"\x89PNG")
    path.write_bytes(data[: at + 8] + bytes(200) + data[at + 208 :])
    stage = Stage(speed=32)
    stage.play(spec(item(path)))
    stage.check()
    assert all(s.rgb.max() < 10 for s in shown(stage.pictures))


@pytest.mark.parametrize("encoding", [None, Encoding()])
def test_pictures_alone_come_with_silence(encoding: Encoding | None, tmp_path: Path) -> None:
    stage = Stage(speed=32)
    stage.play(spec(item(make(Clip(60, audio=None), tmp_path / "file")), encoding=encoding))
    stage.check()
    assert stage.numbers() == list(range(60))
    assert not np.any(sound_of(stage.sounds)[1])


def test_sound_that_cannot_be_decoded_is_silence_and_is_told(tmp_path: Path) -> None:
    stage = Stage(speed=32)
    stage.play(spec(item(make(Clip(60, audio="wmav2", suffix=".mkv"), tmp_path / "file"))))
    stage.check()
    assert not stage.warnings()
    assert [(file.how, file.reason) for file in stage.files()] == [("copied", "its sound (wmav2) cannot be decoded")]
    assert stage.numbers() == list(range(60))


@pytest.mark.parametrize("rate", [1, 2, 5])
def test_a_file_of_few_pictures_a_second_is_whole_with_its_sound(rate: int, tmp_path: Path) -> None:
    stage = Stage(speed=32)
    stage.play(spec(item(make(Clip(4 * rate, rate=Fraction(rate)), tmp_path / "file"))))
    stage.check()
    assert not stage.warnings()
    assert stage.numbers() == list(range(4 * rate))
    assert len(beep_starts(sound_of(stage.sounds)[1])) == 4
