"""Clips at random points over codecs, GOPs, rates and time stamps, each frame and each sample looked at.

A few run always; `make soak` makes three thousand.
"""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from services.clipper.cutting import CutSource, Run, cut_exact, plan_cut, verify_clip
from services.clipper.cutting.plan import POINT_TOLERANCE
from shared.media.mp4.fragments import read_fragments
from tests.support.framecode import AUDIO_RATE, Sound, play
from tests.support.framecode_record import Recording, Spec, record

RATES = {
    "23.976": Fraction(24000, 1001), "25": Fraction(25), "29.97": Fraction(30000, 1001), "30": Fraction(30),
    "50": Fraction(50), "59.94": Fraction(60000, 1001), "60": Fraction(60),
}  # fmt: skip
FRAMES = 180
CLIPS = 3000
OPUS_PRESKIP = 312
KINDS = [
    Spec(codec, rate, bframes, gop, FRAMES / rate, stamps)
    for codec, gop, rate, bframes, stamps in product(
        ("h264", "hevc"), (12, 48, 250), RATES.values(), (0, 2), ("ms", "90k")
    )
]
ODD = [
    Spec(gop=30, encoder="open-gop=1"),
    Spec(gop=30, bframes=3, encoder="open-gop=1:cabac=0:ref=4", stamps="90k"),
    Spec("hevc", gop=30, bframes=4, encoder="open-gop=1"),
    Spec(gop=30, bframes=0, encoder="intra-refresh=1"),
    Spec(gop=45, audio="opus"),
    Spec(gop=30, longest=Fraction(1)),
    Spec(gop=30, encoder="tff=1:open-gop=1", pixels="yuv422p10le"),
    Spec("hevc", gop=30, bframes=4, encoder="open-gop=1", pixels="yuv420p10le"),
    Spec("av1", Fraction(60), 0, 60),
    Spec("av1", Fraction(25), 0, 45, pixels="yuv420p10le", stamps="90k"),
    Spec("vp9", Fraction(30000, 1001), 0, 50),
]
QUICK = [
    Spec("h264", Fraction(30), 2, 45, Fraction(4), "ms"),
    Spec("h264", Fraction(60000, 1001), 2, 60, Fraction(2), "ms"),
    Spec("h264", Fraction(24000, 1001), 0, 24, Fraction(4), "90k"),
    Spec("hevc", Fraction(25), 2, 30, Fraction(4), "90k"),
    Spec("h264", Fraction(30), 3, 30, Fraction(4), "90k", encoder="open-gop=1"),
    Spec("av1", Fraction(30000, 1001), 0, 30, Fraction(4), "ms"),
    Spec("vp9", Fraction(25), 0, 40, Fraction(4), "ms", audio="opus"),
]


def _name(spec: Spec) -> str:
    return f"{spec.codec}-{float(spec.rate):.3f}-b{spec.bframes}-g{spec.gop}-{spec.stamps}-{spec.encoder}"


class Truth:
    """A recording as an ingester announces it, frame n at n / rate, and its sound by the sample."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.recording: Recording = record(spec, folder)
        self.rate = spec.rate
        self.count = len(self.recording.shown)
        paths = [segment.path for segment in self.recording.segments]
        tables = read_fragments(paths).tables
        zero = int(tables[1].pts[0])
        run = Run(self.recording.init, self.recording.segments, Fraction(-zero, 90000), "a" * 32, zero)
        self.source = CutSource((run,))
        whole = folder / "whole.mp4"
        whole.write_bytes(self.recording.init.read_bytes() + b"".join(path.read_bytes() for path in paths))
        self.sound: Sound = play(whole, video=False).sound
        # Sound's first sample, in samples after the first frame: the encoder's clock is exact where stamps are not.
        self.first_sample = Fraction(int(tables[2].dts[0])) - self.recording.shown[0] * AUDIO_RATE
        if spec.audio == "opus":  # without an edit list ffmpeg leaves out the encoder's own warm-up
            self.first_sample += OPUS_PRESKIP

    def check(self, start: Fraction, end: Fraction, out: Path) -> None:
        plan = plan_cut(self.source, start, end)
        result = cut_exact(plan, out)
        verify_clip(result, plan)
        seen = play(out)
        first, last = (max(-(-(point - POINT_TOLERANCE) * self.rate // 1), 0) for point in (start, end))
        expected = list(range(int(first), min(int(last), self.count)))
        assert (seen.numbers, seen.warnings) == (expected, "")
        assert (result.start, result.frames) == (first / self.rate, len(expected))
        assert result.duration == len(expected) / self.rate
        assert result.gaps == ()
        self._listen(seen.sound, result.start, result.duration)

    def _listen(self, sound: Sound, start: Fraction, duration: Fraction) -> None:
        assert abs(len(sound) - duration * AUDIO_RATE) <= 1
        at = round(start * AUDIO_RATE - self.first_sample)
        off: dict[int, float] = {}
        for lag in range(-6, 7):
            begin = max(at + lag, 0)
            mine = sound[begin - at - lag :].astype(np.int64)
            length = min(len(mine), len(self.sound) - begin)
            off[lag] = float(np.abs(mine[:length] - self.sound[begin : begin + length]).mean())
        loud = float(np.abs(sound.astype(np.int64)).mean())
        best = min(off, key=lambda lag: (off[lag], abs(lag)))
        if loud > 20:  # otherwise no beep lies in the clip: silence fits anywhere
            assert abs(best) <= 1, off
            assert off[best] < loud / 50


def _points(truth: Truth, chance: random.Random) -> tuple[Fraction, Fraction]:
    """Choose points as clients do: in ms, exact, or anywhere; one frame long at least."""
    first = chance.randrange(truth.count - 1)
    end = chance.randrange(first + 1, truth.count + 1)
    points = [number / truth.rate for number in (first, end)]
    kind = chance.choice(("ms", "exact", "anywhere"))
    if kind == "ms":
        points = [Fraction(round(point * 1000), 1000) for point in points]
    elif kind == "anywhere":
        shift = Fraction(chance.randrange(1000), 1000) / truth.rate
        points = [point + shift for point in points]
    return points[0], points[1]


def _run(spec: Spec, clips: int, folder: Path) -> None:
    chance = random.Random(_name(spec))
    truth = Truth(spec, folder / "recording")
    for _ in range(clips):
        start, end = _points(truth, chance)
        truth.check(start, end, folder / "clip.mp4")


@pytest.mark.parametrize("spec", QUICK, ids=_name)
def test_random_clips_are_exact(spec: Spec, tmp_path: Path) -> None:
    _run(spec, 4, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("spec", [*KINDS, *(replace(spec, seconds=Fraction(6)) for spec in ODD)], ids=_name)
def test_three_thousand_random_clips_are_exact(spec: Spec, tmp_path: Path) -> None:
    _run(spec, -(-CLIPS // (len(KINDS) + len(ODD))), tmp_path)
