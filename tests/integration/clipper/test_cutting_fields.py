"""Interlaced pictures coded as pairs of fields (PAFF): recorded as one sample each, and cut to the frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from services.clipper.cutting import CutSource, Run, Segment, cut_exact, plan_cut, verify_clip
from tests.support import fields
from tests.support.media_recording import Recorded, pieces
from tests.support.ts_layouts import LAYOUTS
from tests.support.ts_mux import mux

FRAMES, GOP = 40, 8


@pytest.mark.parametrize(("first", "end"), [(0, 40), (8, 24), (13, 29), (3, 33), (17, 22), (31, 32)])
def test_a_range_of_field_pairs(first: int, end: int, tmp_path: Path) -> None:
    units = [unit for pair in fields.frames(FRAMES, gop=GOP) for unit in pair]
    recorded = Recorded(tmp_path / "recording")
    recorded.run("mpegts", pieces(bytes(mux("h264", LAYOUTS["one"](units))), 1316))
    segments = tuple(Segment(s.path, s.start, s.duration) for s in recorded.segments)
    source = CutSource((Run(recorded.init(), segments, Fraction(0), "a" * 32),))
    plan = plan_cut(source, Fraction(first, 25), Fraction(end, 25))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    with av.open(str(result.path)) as clip:
        lines = [frame.to_ndarray() for frame in clip.decode(video=0)]
    shades = [(int(each[0, 0]), int(each[1, 0])) for each in lines]
    wanted = [(40 + 5 * n, 42 + 5 * n) for n in range(first, end)]
    assert len(shades) == len(wanted)
    assert all(
        abs(made - told) <= 1 for pair in zip(shades, wanted, strict=True) for made, told in zip(*pair, strict=True)
    )
    head = -first % GOP
    assert result.encoded == (head if first + head < end else end - first)
