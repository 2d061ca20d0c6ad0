"""Reels: ranges of several recordings in one file, each picture and each sample where it belongs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from services.clipper.cutting import CutResult, EmptyCut, cut_exact, join_plans, parts_of, plan_cut, verify_clip
from tests.support.framecode import AUDIO_RATE, BEEP_HZ, Seen, Sound, beeps, play
from tests.support.framecode_record import Recording, Spec, record

GOP = 30
LENGTH = Fraction(6)
LAG = AUDIO_RATE // BEEP_HZ // 2 - 1  # samples; a shift by more, or by whole periods, is what CLICK finds
CLICK = 6000  # no encoding of these beeps is off by as much


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(gop=GOP, seconds=LENGTH), tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Another job of an encoder with the same settings."""
    return record(Spec(gop=GOP, seconds=LENGTH, first_number=300), tmp_path_factory.mktemp("second"))


class Range(NamedTuple):
    """Frames [first, end) of a recording."""

    of: Recording
    first: int
    end: int

    @property
    def numbers(self) -> list[int]:
        return [self.of.spec.first_number + number for number in range(self.first, self.end)]

    @property
    def sound(self) -> Sound:
        at = [int(frame * AUDIO_RATE / self.of.spec.rate) for frame in (self.first, self.end)]
        return beeps(self.of.spec.seconds + 1)[at[0] : at[1]]


def _cut(ranges: Sequence[Range], out: Path, *, audio: bool = True) -> tuple[CutResult, Seen]:
    plan = join_plans([plan_cut(one.of.source(), one.of.time(one.first), one.of.time(one.end)) for one in ranges])
    result = cut_exact(plan, out)
    verify_clip(result, plan)
    seen = play(out, audio=audio)
    assert seen.warnings == ""
    assert seen.numbers == [number for one in ranges for number in one.numbers]
    made = parts_of(plan.exact)
    assert [(part.start, part.end) for part in made if part] == [
        (one.of.time(one.first), one.of.time(one.end)) for one in ranges
    ]
    return result, seen


def _lag(heard: Sound, wanted: Sound) -> int:
    """Return by how many samples sound lags behind what is wanted, where it has a beep; a period's half at most."""
    if int(np.abs(wanted[LAG:-LAG]).max(initial=0)) < 10_000:
        return 0
    tone, padded = wanted.astype(np.float64), np.pad(heard.astype(np.float64), LAG)
    return max(range(-LAG, LAG + 1), key=lambda lag: float(padded[LAG + lag : LAG + lag + len(tone)] @ tone))


def check_sound(ranges: Sequence[Range], seen: Seen) -> None:
    """Each range's sound is its own, to the sample, from its first to its last; and none is loud that was silent."""
    at = 0
    for one in ranges:
        wanted, heard = one.sound, seen.sound[at : at + len(one.sound)]
        assert _lag(heard, wanted) == 0
        off = np.abs(heard.astype(np.int64) - wanted)
        assert int(off.max(initial=0)) < CLICK, f"a click at {(at + int(off.argmax())) / AUDIO_RATE}"
        at += len(wanted)
    assert len(seen.sound) == at


def test_a_hundred_ranges_in_any_order_never_drift(first: Recording, second: Recording, tmp_path: Path) -> None:
    choice = random.Random(10)
    ranges = []
    for number in range(100):
        length, of = choice.randrange(1, 40), (first, second)[number % 2]
        begin = choice.randrange(0, of.spec.frames - length)
        ranges.append(Range(of, begin, begin + length))
    result, seen = _cut(ranges, tmp_path / "reel.mp4")
    assert result.method == "smart"
    assert result.encoded < result.frames
    check_sound(ranges, seen)


def test_ranges_that_follow_each_other_overlap_or_are_the_same_one(first: Recording, tmp_path: Path) -> None:
    follows = [Range(first, 7, 50), Range(first, 50, 111), Range(first, 111, 170)]
    _, seen = _cut(follows, tmp_path / "follows.mp4")
    check_sound(follows, seen)
    again = [Range(first, 40, 100), Range(first, 40, 100), Range(first, 70, 130), Range(first, 0, 60)]
    result, seen = _cut(again, tmp_path / "again.mp4")
    check_sound(again, seen)
    assert result.duration == Fraction(240, 30)


def test_whole_gops_are_copied_without_encoding_a_picture(first: Recording, second: Recording, tmp_path: Path) -> None:
    ranges = [Range(second, 30, 90), Range(first, 60, 120), Range(second, 0, 30)]
    result, seen = _cut(ranges, tmp_path / "reel.mp4")
    assert (result.method, result.encoded) == ("copy", 0)
    check_sound(ranges, seen)


OTHERS = {
    "codec": Spec("hevc", gop=GOP, seconds=LENGTH, first_number=600),
    "AV1": Spec("av1", gop=GOP, seconds=LENGTH, first_number=600),
    "settings": Spec(gop=GOP, bframes=0, seconds=LENGTH, first_number=600),
    "rate": Spec(rate=Fraction(25), gop=25, seconds=LENGTH, first_number=600),
    "odd rate": Spec(rate=Fraction(60000, 1001), gop=60, seconds=LENGTH, first_number=600),
    "sound": Spec(gop=GOP, seconds=LENGTH, first_number=600, audio="opus"),
    "size": Spec(gop=GOP, seconds=LENGTH, first_number=600, options=("-vf", "scale=256:144")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_only_what_differs_is_encoded(first: Recording, what: str, tmp_path: Path) -> None:
    other = record(OTHERS[what], tmp_path / "other")
    ranges = [Range(first, 30, 120), Range(other, 10, 40), Range(first, 0, 60)]
    result, seen = _cut(ranges, tmp_path / "reel.mp4")
    assert result.method == "smart"
    assert result.encoded == (10 + 10 if what == "sound" else 30)
    if what in {"codec", "AV1", "settings", "size"}:
        check_sound(ranges, seen)
    assert len(seen.sound) == pytest.approx(float(result.duration) * AUDIO_RATE, abs=1)


@pytest.mark.parametrize("rate", [22050, 96000])
def test_sound_of_an_unusual_rate_is_joined(first: Recording, rate: int, tmp_path: Path) -> None:
    spec = Spec(gop=GOP, seconds=LENGTH, first_number=600, options=("-ar", str(rate)))
    other = record(spec, tmp_path / "other")
    for name, ranges in (
        ("mixed", [Range(other, 25, 77), Range(first, 101, 160)]),
        ("alike", [Range(other, 25, 77), Range(other, 101, 160)]),
    ):
        _, seen = _cut(ranges, tmp_path / f"{name}.mp4")
        begin = 0
        for one in ranges:
            assert abs(_lag(seen.sound[begin : begin + len(one.sound)], one.sound)) <= AUDIO_RATE // 2000
            begin += len(one.sound)
        assert len(seen.sound) == pytest.approx(begin, abs=1)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_range_without_sound_is_silent_and_moves_nothing(first: Recording, where: int, tmp_path: Path) -> None:
    mute = record(Spec(gop=GOP, seconds=LENGTH, first_number=600, audio=None), tmp_path / "mute")
    ranges = [Range(first, 25, 77), Range(first, 101, 160)]
    ranges.insert(where, Range(mute, 13, 50))
    _, seen = _cut(ranges, tmp_path / "reel.mp4")
    at = sum(len(one.sound) for one in ranges[:where])
    silent = seen.sound[at : at + len(ranges[where].sound)]
    assert int(np.abs(silent[200:-200]).max()) < 1000
    for number, one in enumerate(ranges):
        if number != where:
            begin = sum(len(before.sound) for before in ranges[:number])
            assert _lag(seen.sound[begin : begin + len(one.sound)], one.sound) == 0


def test_what_was_not_recorded_is_left_out(first: Recording, tmp_path: Path) -> None:
    there = [plan_cut(first.source(), first.time(n), first.time(n + 20)) for n in (30, 5)]
    plan = join_plans([None, there[0], None, there[1], None])
    verify_clip(cut_exact(plan, tmp_path / "reel.mp4"), plan)
    assert play(tmp_path / "reel.mp4").numbers == [*range(30, 50), *range(5, 25)]
    assert [part is not None for part in parts_of(plan.exact)] == [False, True, False, True, False]
    with pytest.raises(EmptyCut):
        join_plans([None, None])
