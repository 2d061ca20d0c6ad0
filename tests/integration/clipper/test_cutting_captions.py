"""Captions in the pictures: each frame of a clip has its own, once, whether it was copied or encoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from services.clipper.cutting import cut_exact, cut_fast, plan_cut, verify_clip
from tests.support.captions import numbers
from tests.support.framecode import play
from tests.support.framecode_record import Spec, record

LENGTH, GOP = Fraction(4), 30
KINDS = {
    "h264": (Spec(captions="own"), "smart"),
    "h264, no b": (Spec(bframes=0, captions="shared"), "smart"),
    "h264, many b": (Spec(bframes=5, encoder="b-pyramid=normal:ref=4", captions="own"), "smart"),
    "h264, open gop": (Spec(encoder="open-gop=1", captions="shared"), "smart"),
    "h264, fields": (Spec(encoder="tff=1", captions="own"), "smart"),
    "h264, intra refresh": (Spec(bframes=0, encoder="intra-refresh=1", captions="own"), "reencode"),
    "hevc": (Spec("hevc", captions="shared"), "smart"),
    "hevc, main10, cra": (
        Spec("hevc", bframes=4, pixels="yuv420p10le", encoder="open-gop=1", captions="own"), "smart",
    ),
    "av1": (Spec("av1", bframes=0, captions="own"), "smart"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_has_its_own_captions(name: str, tmp_path: Path) -> None:
    spec, method = KINDS[name]
    spec = Spec(**{**spec.__dict__, "gop": GOP, "seconds": LENGTH})
    recording = record(spec, tmp_path / "recording")
    for first, end in ((17, 111), (0, 64), (31, 45)):
        plan = plan_cut(recording.source(), recording.time(first), recording.time(end))
        for cut in (cut_exact, cut_fast):
            result = cut(plan, tmp_path / "clip.mp4")
            verify_clip(result, plan)
            seen = play(result.path)
            assert seen.warnings == ""
            assert numbers(str(result.path)) == [[number] for number in seen.numbers]
            if cut is cut_exact:
                assert seen.numbers == list(range(first, end))
                assert result.method == ("reencode" if (first, end) == (31, 45) else method if first else result.method)


def test_turned_pictures_stay_turned(tmp_path: Path) -> None:
    """A display orientation message comes with the stream's first picture alone: a clip repeats it."""
    turned = ("-bsf:v", "h264_metadata=display_orientation=insert:rotate=90")
    recording = record(Spec(gop=120, seconds=LENGTH, options=turned), tmp_path / "recording")
    plan = plan_cut(recording.source(), recording.time(17), recording.time(80))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    with av.open(str(result.path)) as clip:
        first = next(clip.decode(video=0))
    assert first.rotation == 90
