"""Frame accuracy: every kind of point, codec, frame rate and rounding of timestamps, seen through a real player."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper.cutting import cut_exact, cut_fast, plan_cut, verify_clip
from services.clipper.cutting.layout import read_layout
from tests.support.framecode import AUDIO_RATE, Sound, beep_starts, payloads, play
from tests.support.framecode_record import Recording, Spec, play_recording, record

RATES = {"25": Fraction(25), "29.97": Fraction(30000, 1001), "30": Fraction(30), "50": Fraction(50)}
# H.264 comes by RTMP mostly, HEVC by SRT; the awkward rate comes both ways, with both.
USUAL_STAMPS = {"h264": "ms", "hevc": "90k"}
# Always run are the awkward rate in all ways, and each codec at each other rate once, half of them with B-frames.
WITH_B = {
    ("h264", "25"): 2, ("h264", "30"): 2, ("h264", "50"): 0, ("hevc", "25"): 0, ("hevc", "30"): 2, ("hevc", "50"): 2,
}  # fmt: skip
MATRIX = [
    pytest.param(
        codec, rate, bframes, stamps, id=f"{codec}-{rate}-b{bframes}-{stamps}",
        marks=[] if rate == "29.97" or bframes == WITH_B[codec, rate] else [pytest.mark.soak],
    )
    for codec in ("h264", "hevc")
    for rate in RATES
    for bframes in (0, 2)
    for stamps in ("ms", "90k")
    if stamps == USUAL_STAMPS[codec] or rate == "29.97"
]  # fmt: skip
GOP = 25
TWO_MS = AUDIO_RATE // 500
# In and out points, as frames: on a keyframe, one beside it, in the middle of a GOP, both in one GOP.
POINTS = {
    "on keyframes": (25, 75),
    "one after": (26, 76),
    "one before": (24, 74),
    "inside GOPs": (13, 87),
    "in one GOP": (55, 63),
}


@pytest.mark.parametrize(("codec", "rate", "bframes", "stamps"), MATRIX)
def test_every_frame_asked_for_and_no_other(codec: str, rate: str, bframes: int, stamps: str, tmp_path: Path) -> None:
    spec = Spec(codec, RATES[rate], bframes, GOP, Fraction(100) / RATES[rate], stamps)
    recording = record(spec, tmp_path / "recording")
    original = dict(enumerate(play_recording(recording, tmp_path).digests))
    for name, (first, end) in POINTS.items():
        _check_exact(recording, first, end, tmp_path / f"{name}.mp4", original)
    _check_fast(recording, 30, 40, tmp_path / "fast.mp4", original)


def _check_exact(recording: Recording, first: int, end: int, out: Path, original: dict[int, str]) -> None:
    plan = plan_cut(recording.source(), recording.time(first), recording.time(end))
    result = cut_exact(plan, out)
    verify_clip(result, plan)
    seen = play(out)
    assert seen.numbers == list(range(first, end))
    assert seen.warnings == ""
    assert (result.frames, result.start, result.end) == (end - first, recording.time(first), recording.time(end))
    assert result.duration == (end - first) / recording.spec.rate
    assert not result.gaps
    copied = [n for part in result.parts if part.kind == "copy" for n in range(part.first, part.first + part.count)]
    assert len(copied) == result.frames - result.encoded
    assert [seen.digests[n] for n in copied] == [original[first + n] for n in copied]
    assert len(set(payloads(out)) - set(payloads(out.parent / "whole.mp4"))) == result.encoded
    # Encoded are only the rest of the GOP at the in point, and at most one group of B-frames at the out point.
    head = -first % GOP if first // GOP < (end - 1) // GOP else end - first
    assert result.encoded <= head + recording.spec.bframes + 1
    _check_sound(seen.sound, first, end, recording)
    _check_structure(out, result.frames, recording)


def _check_sound(sound: Sound, first: int, end: int, recording: Recording) -> None:
    """Each beep begins on a whole second of the recording; a frame's number tells when the clip shows it."""
    rate = recording.spec.rate
    heard = beep_starts(sound)
    seconds = [s for s in range(10) if first / rate < s < end / rate - Fraction(1, 20)]
    expected = [round((s - first / rate) * AUDIO_RATE) for s in seconds]
    whole = [at for at in heard if at > TWO_MS]  # one that is cut by the in point begins at once
    assert len([at for at in whole if any(abs(at - e) <= TWO_MS for e in expected)]) == len(expected), (heard, expected)
    assert len(sound) == pytest.approx((end - first) / rate * AUDIO_RATE, abs=1024)


def _check_structure(out: Path, frames: int, recording: Recording) -> None:
    tracks = {track.kind: track for track in read_layout(out)}
    video, audio = tracks["vide"], tracks["soun"]
    assert set(video.steps.tolist()) == {video.timescale / recording.spec.rate}
    assert (len(video.steps), video.entries, audio.entries) == (frames, 1, 1)
    assert int(audio.steps.min()) > 0
    assert sorted(video.shown.tolist()) == [n * int(video.steps[0]) for n in range(frames)]


def _check_fast(recording: Recording, first: int, end: int, out: Path, original: dict[int, str]) -> None:
    plan = plan_cut(recording.source(), recording.time(first), recording.time(end))
    result = cut_fast(plan, out)
    verify_clip(result, plan)
    seen = play(out)
    assert seen.warnings == ""
    assert set(range(first, end)) <= set(seen.numbers)
    assert seen.numbers == list(range(seen.numbers[0], seen.numbers[0] + result.frames))
    assert seen.digests == [original[n] for n in seen.numbers]
    assert recording.time(seen.numbers[0]) == result.start
    assert (result.method, result.encoded) == ("copy", 0)
    assert seen.numbers[0] % GOP == 0
    _check_sound(seen.sound[: len(seen.sound)], seen.numbers[0], seen.numbers[-1] + 1, recording)
