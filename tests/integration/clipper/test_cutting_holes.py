"""Holes in one track, in both, and pictures that are held: what every range of them shows, sounds and tells."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from services.clipper.cutting import CutResult, CutSource, EmptyCut, Run, cut_exact, cut_fast, plan_cut, verify_clip
from services.clipper.cutting.plan import Missing
from tests.support.framecode import AUDIO_RATE, Sound, beep_starts, play, read_number
from tests.support.framecode_record import Recording, Spec, record

RATE = 30
LENGTH = Fraction(10)
PACKET = Fraction(1024, AUDIO_RATE)
HOLE = (Fraction(3), Fraction(6))  # from frame 90 to 179; a keyframe every second
USUAL = {"gop": RATE, "seconds": LENGTH, "bframes": 0, "stamps": "90k"}


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """No pictures from 3 s to 6 s, with sound going on."""
    return record(Spec(**USUAL, lost=HOLE), tmp_path_factory.mktemp("blind"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A slide: frame 89 is on show until 6 s."""
    return record(Spec(**USUAL, held=HOLE), tmp_path_factory.mktemp("still"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Nothing is missing."""
    return record(Spec(**USUAL), tmp_path_factory.mktemp("whole"))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[0, 2])
def beyond(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """No pictures from about 3 to 5 s; with B-frames and without."""
    spec = Spec(gop=RATE, seconds=LENGTH, bframes=request.param, stamps="90k", lost=(Fraction(3), Fraction("4.5")))
    return record(spec, tmp_path_factory.mktemp("beyond"))


def _clips(source: CutSource, start: Fraction, end: Fraction, folder: Path) -> tuple[CutResult, CutResult]:
    """Cut a range both ways and check both files."""
    plan = plan_cut(source, start, end)
    exact, fast = cut_exact(plan, folder / "exact.mp4"), cut_fast(plan, folder / "fast.mp4")
    for result in (exact, fast):
        verify_clip(result, plan)
    return exact, fast


def _shown(clip: Path) -> list[tuple[int, Fraction]]:
    """Read frame numbers, and when each is shown."""
    with av.open(str(clip)) as container:
        return [
            (read_number(frame.to_ndarray(format="gray")), (frame.pts or 0) * (frame.time_base or Fraction(1)))
            for frame in container.decode(video=0)
        ]


def _beeps(sound: Sound, start: Fraction, *, silent: tuple[Fraction, Fraction] | None = None) -> None:
    """Every second's beep is heard where it should be by counting samples, but for those in a silent stretch."""
    end = start + Fraction(len(sound), AUDIO_RATE)
    wanted = [s for s in range(20) if start + Fraction(1, 10) < s < end - Fraction(1, 10)]
    wanted = [s for s in wanted if silent is None or not silent[0] - Fraction(1, 10) < s < silent[1]]
    heard = [at for at in beep_starts(sound) if at > AUDIO_RATE // 20]
    assert len(heard) == len(wanted), (heard, wanted)
    for at, second in zip(heard, wanted, strict=True):
        assert abs(at - (second - start) * AUDIO_RATE) <= AUDIO_RATE // 500


# Ranges, what of [3, 6) is told as missing, and the frames shown at the clip's start and end.
RANGES = [
    pytest.param(Fraction(1), Fraction(8), (3, 6), 30, 239, id="over it"),
    pytest.param(Fraction(1), Fraction(3), None, 30, 89, id="to its start"),
    pytest.param(Fraction(1), Fraction("4.5"), (3, Fraction("4.5")), 30, 89, id="to its middle"),
    pytest.param(Fraction("4.2"), Fraction("4.9"), (Fraction("4.2"), Fraction("4.9")), 89, 89, id="within it"),
    pytest.param(Fraction("4.2"), Fraction("4.25"), (Fraction("4.2"), Fraction("4.25")), 89, 89, id="a moment in it"),
    pytest.param(Fraction("4.2"), Fraction(8), (Fraction("4.2"), 6), 89, 239, id="from its middle"),
    pytest.param(Fraction(3), Fraction(8), (3, 6), 89, 239, id="from its start"),
    pytest.param(Fraction(6), Fraction(8), None, 180, 239, id="from its end"),
    pytest.param(Fraction(0), LENGTH, (3, 6), 0, 299, id="whole"),
]


@pytest.mark.parametrize(("start", "end", "missing", "first", "last"), RANGES)
def test_sound_goes_on_over_lost_pictures(
    blind: Recording, tmp_path: Path, start: Fraction, end: Fraction, missing: tuple[Fraction, Fraction] | None,
    first: int, last: int,
) -> None:  # fmt: skip
    exact, fast = _clips(blind.source(), start, end, tmp_path)
    assert (exact.start, exact.end, exact.duration) == (start, end, end - start)
    expected = (Missing(Fraction(missing[0]), missing[1] - Fraction(missing[0]), "video"),) if missing else ()
    assert exact.gaps == expected
    shown = _shown(exact.path)
    assert (shown[0][0], shown[-1][0], shown[0][1]) == (first, last, 0)
    for number, time in shown[1:]:
        assert abs(time - (Fraction(number, RATE) - start)) < Fraction(1, 1000)
    sound = play(exact.path, video=False).sound
    assert abs(len(sound) - (end - start) * AUDIO_RATE) <= 1
    _beeps(sound, start)
    assert fast.start <= start
    assert fast.end >= end
    told = [gap for gap in fast.gaps if gap.start < end and gap.start + gap.duration > start]
    assert bool(told) == bool(missing)
    _beeps(play(fast.path, video=False).sound, fast.start)


@pytest.mark.parametrize(("start", "end", "missing", "first", "last"), RANGES)
def test_a_picture_held_for_long_is_no_gap(
    still: Recording, tmp_path: Path, start: Fraction, end: Fraction, missing: object, first: int, last: int
) -> None:
    exact, fast = _clips(still.source(), start, end, tmp_path)
    assert missing is None or first == 89 or last == 89 or exact.frames < (end - start) * RATE
    assert (exact.start, exact.end, exact.gaps, fast.gaps) == (start, end, (), ())
    shown = _shown(exact.path)
    assert (shown[0][0], shown[-1][0]) == (first, last)
    sound = play(exact.path, video=False).sound
    assert abs(len(sound) - (end - start) * AUDIO_RATE) <= 1
    _beeps(sound, start)


@pytest.mark.parametrize("end", [Fraction("3.5"), Fraction("4.5"), Fraction(7)])
@pytest.mark.parametrize("start", [Fraction(1), Fraction("3.2"), Fraction("3.4")])
def test_sound_beyond_the_segments_own_time(beyond: Recording, start: Fraction, end: Fraction, tmp_path: Path) -> None:
    """The segment before the hole ends with its pictures, the sound beyond lies in it too."""
    zero, bframes = beyond.shown[0], beyond.spec.bframes
    assert any(after.start - before.start - before.duration for before, after in pairwise(beyond.segments))
    exact, fast = _clips(beyond.source(), zero + start, zero + end, tmp_path)
    for result in (exact, fast):
        assert [gap.track for gap in result.gaps] == ["video"]
    told = exact.gaps[0]
    assert abs(told.start - zero - max(start, Fraction(3))) <= Fraction(2 * (bframes > 0), RATE)
    assert abs(told.start + told.duration - zero - min(end, Fraction(5))) <= PACKET * 2
    assert abs(exact.duration - end + start) <= PACKET
    sound = play(exact.path, video=False).sound
    assert abs(len(sound) - exact.duration * AUDIO_RATE) <= 1024
    _beeps(sound, start)


@pytest.mark.parametrize("bframes", [0, 2])
def test_lost_pictures_without_sound_move_up(bframes: int, tmp_path: Path) -> None:
    spec = Spec(gop=RATE, seconds=LENGTH, bframes=bframes, stamps="90k", audio=None, lost=HOLE)
    recording = record(spec, tmp_path / "recording")
    zero = recording.shown[0]
    exact, fast = _clips(recording.source(), zero + 1, zero + 8, tmp_path)
    numbers = [number for number, _ in _shown(exact.path)]
    assert (numbers[0], numbers[-1]) == (30, 239)
    assert len(exact.gaps) == len(fast.gaps) == 1
    (gap,) = exact.gaps
    lost = [n for n in range(30, 240) if n not in numbers]
    assert lost == list(range(lost[0], 180))
    assert (gap.track, gap.start, gap.duration) == ("all", zero + Fraction(lost[0], RATE), Fraction(len(lost), RATE))
    assert exact.duration == 7 - gap.duration
    with pytest.raises(EmptyCut):
        plan_cut(recording.source(), zero + 4, zero + 5)


def test_where_both_are_missing_what_follows_moves_up(tmp_path: Path) -> None:
    """No pictures from 3 to 7 s, no sound from 4 to 6 s: one gap of both, pictures missing beside it on both sides."""
    spec = Spec(**USUAL, lost=(Fraction(3), Fraction(7)), silent=(Fraction(4), Fraction(6)))  # type: ignore[arg-type]
    recording = record(spec, tmp_path / "recording")
    exact, fast = _clips(recording.source(), Fraction(1), Fraction(9), tmp_path)
    for result in (exact, fast):
        kinds = [gap.track for gap in result.gaps]
        assert kinds == ["video", "all", "video"]
        before, both, after = result.gaps
        assert before.start == 3
        assert abs(before.duration - 1) <= PACKET
        assert abs(both.duration - 2) <= 2 * PACKET
        assert after.start + after.duration == 7
    assert abs(exact.duration - 6) <= 2 * PACKET
    sound = play(exact.path, video=False).sound
    assert abs(len(sound) - exact.duration * AUDIO_RATE) <= 1024


@pytest.mark.parametrize("packets", [1, 2, 3, 40])
def test_lost_packets_of_sound_are_silence_in_their_place(whole: Recording, packets: int, tmp_path: Path) -> None:
    """What follows is at the same sample as without the loss; a hole longer than a packet is told."""
    begin = 150 * PACKET  # a packet of the whole recording begins here
    spec = Spec(**USUAL, silent=(begin, begin + packets * PACKET))  # type: ignore[arg-type]
    holed = record(spec, tmp_path / "holed")
    sounds = []
    for recording in (whole, holed):
        exact, fast = _clips(recording.source(), Fraction(1), Fraction(8), tmp_path)
        sounds.append(play(exact.path, video=False).sound)
        lost = packets if recording is holed and packets > 1 else 0
        for result in (exact, fast):
            assert [gap.track for gap in result.gaps] == ["audio"] * bool(lost)
            for gap in result.gaps:
                assert abs(gap.duration - lost * PACKET) <= Fraction(2, AUDIO_RATE)
                assert abs(gap.start - begin) <= PACKET
    assert len(sounds[0]) == len(sounds[1])
    first, end = int((begin - 1) * AUDIO_RATE) - 2048, int((begin + packets * PACKET - 1) * AUDIO_RATE) + 2048
    same = np.abs(sounds[0].astype(int) - sounds[1].astype(int)) <= 1
    assert same[:first].all()
    assert same[end:].all()


def test_sound_before_any_picture_is_kept(tmp_path: Path) -> None:
    """Video joined later, under an init segment of its own: its first picture stands from the clip's start on."""
    early = record(Spec(video=False, seconds=Fraction(4)), tmp_path / "early")
    late = record(Spec(gop=RATE, seconds=Fraction(4), first_number=300, bframes=0, stamps="90k"), tmp_path / "late")
    source = CutSource((early.run(), Run(late.init, late.segments, Fraction(4), "a" * 32)))
    exact, fast = _clips(source, Fraction(1), Fraction(6), tmp_path)
    shown = _shown(exact.path)
    assert [number for number, _ in shown] == list(range(300, 360))
    assert shown[0][1] == 0
    assert abs(shown[1][1] - 3 - Fraction(1, RATE)) < Fraction(1, 1000)
    for result in (exact, fast):
        assert [(gap.start, gap.track) for gap in result.gaps] == [(1, "video")]
        assert abs(result.gaps[0].duration - 3) <= Fraction(1, 4)
    only, _ = _clips(source, Fraction(1), Fraction(3), tmp_path)
    assert (only.frames, only.duration, only.gaps) == (0, 2, ())
