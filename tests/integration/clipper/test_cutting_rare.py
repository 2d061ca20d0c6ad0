"""Streams and points that few have: pictures that a seam would spoil, and clips shorter than a packet of sound."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper.cutter import ClipCutter
from services.clipper.cutting import ClipFaulty, cut_exact, plan_cut, verify_clip
from services.clipper.footage import Footage, Recorded
from shared.runtime.settings import Settings
from tests.support.clipper_desk import Desk
from tests.support.framecode import play
from tests.support.framecode_record import Spec, record


def test_pictures_that_a_seam_would_spoil_are_encoded(tmp_path: Path) -> None:
    """Lossless H.264: FFmpeg decodes what follows lossy pictures without an error, and wrongly."""
    of = record(Spec(pixels="yuv444p", encoder="qp=0", seconds=Fraction(5)), tmp_path / "of")
    points = of.time(40), of.time(130)
    plan = plan_cut(of.source(), *points)
    with pytest.raises(ClipFaulty, match="does not look like the recording's"):
        verify_clip(cut_exact(plan, tmp_path / "spoiled.mp4"), plan)
    at = Desk(js=None, settings=Settings(data_dir=tmp_path / "data"))  # type: ignore[arg-type]
    cutter = ClipCutter(at.store)
    part = Recorded(at.session(of), *points, points[1])
    file = cutter.publish(cutter.exact(Footage((part,)), "clips/a/b/frame.mp4", threading.Event())).file
    assert (file.method, file.frames) == ("reencode", 90)
    assert "copied pictures would be wrong" in file.reason
    seen = play(at.store.path(file.key))
    assert (seen.numbers, seen.warnings) == (list(range(40, 130)), "")
    assert [path.name for path in at.store.path(file.key).parent.iterdir() if path.suffix != ".pcm"] == ["frame.mp4"]


@pytest.mark.parametrize("audio", ["aac", "mp3", "mp2"])
def test_one_frame_at_120_a_second_is_a_clip(audio: str, tmp_path: Path) -> None:
    """Its edit list leaves less of the sound than a packet has, of which decoders may give out nothing."""
    of = record(Spec(rate=Fraction(120), gop=120, seconds=Fraction(1), audio=audio), tmp_path / "of")
    for frame in range(0, 100, 11):
        plan = plan_cut(of.source(), of.time(frame), of.time(frame + 1))
        result = cut_exact(plan, tmp_path / "clip.mp4")
        verify_clip(result, plan)
        assert (result.frames, result.duration) == (1, Fraction(1, 120))
        assert play(result.path, audio=False).numbers == [frame]
