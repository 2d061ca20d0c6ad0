"""Playout of files and ranges: every picture that was asked for and no other, times without a seam, sound with them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from services.restreamer.model import FLICKS
from tests.support.framecode import beep_starts
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Stage, flicks, item, spec
from tests.support.playout_watched import sound_of, steps

OPEN_X264 = "keyint=30:min-keyint=30:scenecut=0:bframes=2:open-gop=1"
OPEN_X265 = "keyint=30:min-keyint=30:scenecut=0:bframes=3:open-gop=1:log-level=none"
CLIPS = {
    "h264-b": Clip(120),
    "h264": Clip(120, bframes=0),
    "h264-open": Clip(120, options=("-x264-params", OPEN_X264)),
    "h264-one-gop": Clip(120, gop=250),
    "hevc-b": Clip(120, codec="hevc"),
    "hevc-open": Clip(120, codec="hevc", options=("-x265-params", OPEN_X265)),
    "ntsc": Clip(120, rate=Fraction(30000, 1001)),
    "flv": Clip(120, suffix=".flv"),
    "ts": Clip(120, suffix=".ts"),
}
# On, before and behind keyframes, within a GOP and over several, a single picture.
POINTS = [(0, 120), (30, 90), (31, 89), (29, 91), (45, 75), (35, 50), (60, 61), (10, 119)]
FRAME = 1024 * FLICKS // 48_000


@pytest.mark.parametrize("name", CLIPS)
def test_points_are_exact_and_joins_without_a_seam(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name]
    path = make(clip, tmp_path / "file")
    stage = Stage(speed=32)
    ranges = [(first / clip.rate, end / clip.rate) for first, end in POINTS]
    stage.play(spec(item(path, *ranges)))
    assert stage.numbers() == [number for first, end in POINTS for number in range(first, end)]
    assert steps(stage.pictures) == {flicks(1 / clip.rate)}
    stage.check()
    assert sum(unit.track is not None for unit in stage.pictures) >= len(POINTS)
    assert [file.how for file in stage.files()] == ["copied"]
    assert not stage.warnings()


def test_copied_pictures_are_those_of_the_file(tmp_path: Path) -> None:
    path = make(Clip(120), tmp_path / "file")
    whole, part = Stage(speed=32), Stage(speed=32)
    whole.play(spec(item(path)))
    part.play(spec(item(path, (Fraction(40, 30), Fraction(110, 30)))))
    kept = {unit.data for unit in part.pictures} & {unit.data for unit in whole.pictures}
    assert len(part.pictures) == 70
    assert 46 <= len(kept) <= 50  # 60 to 109, but for the last group of B-frames


def test_sound_stays_with_its_pictures_over_twenty_joins(tmp_path: Path) -> None:
    one, other = make(Clip(63), tmp_path / "one"), make(Clip(67, 100, bframes=0, gop=25), tmp_path / "other")
    stage = Stage(speed=32)
    stage.play(spec(item(one), item(other), loops=10))
    assert stage.numbers() == [*range(63), *range(100, 167)] * 10
    assert steps(stage.pictures) == {FLICKS // 30}
    stage.check()
    zero, sound = sound_of(stage.sounds)
    begins = [Fraction(130 * loop + frame, 30) for loop in range(10) for frame in (0, 30, 63, 93)]
    heard = [Fraction(at, 48_000) + Fraction(zero - stage.pictures[0].pts, FLICKS) for at in beep_starts(sound)]
    for begin in begins:
        assert min(abs(at - begin) for at in heard) <= Fraction(FRAME, FLICKS) * Fraction(11, 10)


def test_a_list_begins_where_it_is_told_and_loops_from_its_first_item(tmp_path: Path) -> None:
    paths = [make(Clip(20, 100 * n), tmp_path / str(n)) for n in range(3)]
    stage = Stage(speed=32)
    stage.play(spec(*map(item, paths), loops=2, first=2))
    assert [number // 100 for number in stage.numbers()[::20]] == [2, 0, 1, 2]
    assert [(file.cursor.item, file.cursor.loop) for file in stage.files()] == [(2, 0), (0, 1), (1, 1), (2, 1)]
