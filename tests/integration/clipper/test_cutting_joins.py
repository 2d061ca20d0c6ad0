"""Clips over gaps, reconnects, other parameters and odd streams: what is joined, encoded, or told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from services.clipper.cutting import (
    CutError,
    CutResult,
    CutSource,
    EmptyCut,
    MixedConfigs,
    Run,
    cut_exact,
    cut_fast,
    plan_cut,
    verify_clip,
)
from tests.support.framecode import AUDIO_RATE, Seen, beep_starts, play
from tests.support.framecode_record import Recording, Spec, record

GOP = 30
LENGTH = Fraction(4)
FRAMES = 120
PACKET = 1024


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(gop=GOP, seconds=LENGTH), tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(gop=GOP, seconds=LENGTH, first_number=300), tmp_path_factory.mktemp("second"))


def _cut(
    source: CutSource, start: Fraction, end: Fraction, out: Path, *, video: bool = True, audio: bool = True
) -> tuple[CutResult, Seen]:
    plan = plan_cut(source, start, end)
    result = cut_exact(plan, out)
    verify_clip(result, plan)
    seen = play(out, video=video, audio=audio)
    assert seen.warnings == ""
    return result, seen


def _beep_times(clip: Path) -> list[float]:
    """Find when beeps begin by the times of decoded sound, as a player that follows the clock hears them."""
    found: list[float] = []
    with av.open(str(clip)) as container:
        for frame in container.decode(audio=0):
            sound = frame.to_ndarray()
            values = (sound[0] * 32767).astype("int16") if sound.dtype.kind == "f" else sound[0]
            start = float((frame.pts or 0) * (frame.time_base or 0))
            found += [start + at / frame.sample_rate for at in beep_starts(values)]
    return [at for n, at in enumerate(found) if n == 0 or at - found[n - 1] > 0.2]


def test_gap_between_sessions_is_told_and_not_padded(first: Recording, second: Recording, tmp_path: Path) -> None:
    source = CutSource((first.run(), second.run(Fraction(10))))
    start, end = first.time(50), second.time(70) + 10
    result, seen = _cut(source, start, end, tmp_path / "clip.mp4")
    assert seen.numbers == [*range(50, FRAMES), *range(300, 370)]
    assert result.gaps == ((first.time(FRAMES), second.time(0) + 10 - first.time(FRAMES), "all"),)
    assert result.duration == Fraction(70 + 70, 30)
    assert (result.start, result.end) == (start, end)
    # The second session's beeps come at its frames 0, 30 and 60: by the clock exactly, by counting within a packet.
    expected = [float(Fraction(70 + at, 30)) for at in (30, 60)]
    assert _beep_times(result.path)[-2:] == pytest.approx(expected, abs=0.002)
    assert [at / AUDIO_RATE for at in beep_starts(seen.sound)][-2:] == pytest.approx(expected, abs=PACKET / AUDIO_RATE)


def test_many_gaps_never_add_up(first: Recording, tmp_path: Path) -> None:
    runs = tuple(first.run(Fraction(10 * n) + Fraction(n, 7)) for n in range(9))
    result, seen = _cut(CutSource(runs), Fraction(0), Fraction(1000), tmp_path / "clip.mp4")
    assert seen.numbers == list(range(FRAMES)) * 9
    assert len(result.gaps) == 8
    expected = [4 * run + second for run in range(9) for second in (1, 2, 3)]
    wanted = pytest.approx(expected, abs=PACKET / AUDIO_RATE)
    assert [at / AUDIO_RATE for at in beep_starts(seen.sound) if at % (4 * AUDIO_RATE) > AUDIO_RATE // 2] == wanted


def test_missing_segment_is_a_gap(first: Recording, tmp_path: Path) -> None:
    run = Run(first.init, (first.segments[0], *first.segments[2:]), Fraction(0))
    longer = Run(first.init, first.segments, Fraction(6))
    result, seen = _cut(CutSource((run, longer)), first.time(10), first.time(20) + 6, tmp_path / "clip.mp4")
    assert seen.numbers == [*range(10, 60), *range(20)]
    assert result.gaps == ((first.time(60), first.time(0) + 6 - first.time(60), "all"),)


def test_overlapping_sessions_show_no_moment_twice(first: Recording, second: Recording, tmp_path: Path) -> None:
    source = CutSource((first.run(), second.run(Fraction(3))))
    result, seen = _cut(source, first.time(80), second.time(60) + 3, tmp_path / "clip.mp4")
    assert seen.numbers == [*range(80, FRAMES), *range(330, 360)]
    assert not result.gaps
    fast = cut_fast(plan_cut(source, first.time(80), second.time(60) + 3), tmp_path / "fast.mp4")
    assert play(fast.path).numbers == [*range(60, FRAMES), *range(330, 360)]


def test_what_lies_outside_is_left_away(first: Recording, second: Recording, tmp_path: Path) -> None:
    source = CutSource((first.run(), second.run(Fraction(10))))
    result, seen = _cut(source, Fraction(6), Fraction(400), tmp_path / "clip.mp4")
    assert seen.numbers == list(range(300, 300 + FRAMES))
    assert (result.method, result.start, result.end) == ("copy", second.time(0) + 10, second.time(FRAMES) + 10)
    for start, end in ((5, 9), (20, 30), (-9, -5)):
        with pytest.raises(EmptyCut):
            plan_cut(source, Fraction(start), Fraction(end))
    with pytest.raises(CutError, match="after"):
        plan_cut(source, Fraction(3), Fraction(3))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Spec("hevc", gop=GOP, seconds=LENGTH, first_number=300), id="other codec"),
        pytest.param(Spec(gop=GOP, bframes=0, seconds=LENGTH, first_number=300), id="other settings"),
        pytest.param(Spec(rate=Fraction(25), gop=25, seconds=LENGTH, first_number=300), id="other rate"),
    ],
)
def test_streams_that_differ_are_joined_by_encoding_one(first: Recording, other: Spec, tmp_path: Path) -> None:
    """The stream with more frames in the clip is copied where it can be."""
    changed = record(other, tmp_path / "other")
    source = CutSource((first.run(), changed.run(Fraction(10))))
    plan = plan_cut(source, first.time(30), changed.time(20) + 10)
    result, seen = _cut(source, first.time(30), changed.time(20) + 10, tmp_path / "clip.mp4")
    assert seen.numbers == [*range(30, FRAMES), *range(300, 320)]
    assert (result.method, result.encoded) == ("smart", 20)
    assert "differ" in result.reason
    if other.codec != "h264":
        with pytest.raises(MixedConfigs):
            cut_fast(plan, tmp_path / "fast.mp4")
    else:
        fast = cut_fast(plan, tmp_path / "fast.mp4")
        verify_clip(fast, plan)
        assert set(play(fast.path).numbers) >= {*range(60, FRAMES), *range(300, 320)}


def test_larger_picture_decides_what_the_clip_looks_like(first: Recording, tmp_path: Path) -> None:
    """Other size and depth: the smaller stream is scaled into the larger one's format, also at its own seams."""
    bigger = Spec(gop=GOP, seconds=LENGTH / 2, first_number=300, pixels="yuv420p10le", options=("-vf", "scale=480:270"))
    changed = record(bigger, tmp_path / "other")
    source = CutSource((first.run(), changed.run(Fraction(10))))
    result, seen = _cut(source, first.time(70), changed.time(50) + 10, tmp_path / "clip.mp4")
    assert seen.numbers == [*range(70, FRAMES), *range(300, 350)]
    assert (result.method, result.encoded) == ("smart", FRAMES - 70 + 1)
    with av.open(str(result.path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height, context.pix_fmt) == (480, 270, "yuv420p10le")


@pytest.mark.parametrize("kind", [None, "opus"])
def test_sound_that_changes_or_ends(first: Recording, kind: str | None, tmp_path: Path) -> None:
    changed = record(Spec(gop=GOP, seconds=LENGTH, first_number=300, audio=kind), tmp_path / "other")
    source = CutSource((changed.run(), first.run(Fraction(10))))
    result, seen = _cut(source, changed.time(90), first.time(90) + 10, tmp_path / "clip.mp4")
    assert seen.numbers == [*range(390, 420), *range(90)]
    beeps = [at / AUDIO_RATE for at in beep_starts(seen.sound)]
    assert beeps[-2:] == pytest.approx([2.0, 3.0], abs=0.01)
    assert len(seen.sound) == pytest.approx(float(result.duration) * AUDIO_RATE, abs=PACKET)


@pytest.mark.parametrize("silent", [(Fraction(3, 2), Fraction(5, 2)), (Fraction(11, 10), Fraction(5, 4))], ids=str)
def test_a_hole_in_sound_that_is_encoded_anew_moves_nothing_behind_it(
    first: Recording, silent: tuple[Fraction, Fraction], tmp_path: Path
) -> None:
    """Packets are counted on from each other; where the count leaves their own times, these are right again."""
    spec = Spec(gop=GOP, seconds=LENGTH, first_number=300, audio="opus", silent=silent)
    holed = record(spec, tmp_path / "holed")
    source = CutSource((holed.run(), first.run(Fraction(10))))
    _, seen = _cut(source, holed.time(0), first.time(30) + 10, tmp_path / "clip.mp4")
    wanted = [float(second) for second in range(4) if not silent[0] - Fraction(1, 10) < second < silent[1]]
    beeps = [at / AUDIO_RATE for at in beep_starts(seen.sound)]
    for second in wanted:  # the cut edges of a hole may be loud, too
        assert min(abs(beep - second) for beep in beeps) < 0.02


def test_hole_in_the_sound_becomes_silence(first: Recording, tmp_path: Path) -> None:
    """Sound stops for a while and comes back: it is still in step with the pictures, also for those who count."""
    spec = Spec(gop=GOP, seconds=LENGTH, silent=(Fraction(3, 2), Fraction(5, 2)))
    holed = record(spec, tmp_path / "holed")
    result, seen = _cut(holed.source(), holed.time(10), holed.time(115), tmp_path / "clip.mp4")
    assert seen.numbers == list(range(10, 115))
    expected = [float(1 - Fraction(10, 30)), float(3 - Fraction(10, 30))]
    assert [at / AUDIO_RATE for at in beep_starts(seen.sound)] == pytest.approx(expected, abs=0.011)
    assert len(seen.sound) == pytest.approx(float(result.duration) * AUDIO_RATE, abs=PACKET)


def test_sound_alone_is_cut_to_the_sample(tmp_path: Path) -> None:
    sound = record(Spec(video=False, seconds=Fraction(6)), tmp_path / "sound")
    result, seen = _cut(sound.source(), Fraction("1.5"), Fraction("4.25"), tmp_path / "clip.mp4", video=False)
    assert (result.method, result.frames, result.duration) == ("copy", 0, Fraction("2.75"))
    assert len(seen.sound) == Fraction("2.75") * AUDIO_RATE
    assert [at / AUDIO_RATE for at in beep_starts(seen.sound)] == pytest.approx([0.5, 1.5, 2.5], abs=0.03)
    whole = cut_fast(plan_cut(sound.source(), Fraction(1), Fraction(2)), tmp_path / "fast.mp4")
    assert whole.packets
