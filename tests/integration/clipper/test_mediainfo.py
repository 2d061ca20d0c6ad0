"""MediaInfo, by which archives and broadcasters accept files, reads clips: whole, streamable, and as long as told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.clipper.cutting import cut_exact, cut_fast, plan_cut
from tests.support.framecode_record import Spec, record
from tests.support.peers import environment, missing, program

pytestmark = pytest.mark.skipif(missing("mediainfo") != "", reason=missing("mediainfo"))
SECONDS = Fraction(4)
SPECS = {
    "23.976 a second": Spec(rate=Fraction(24000, 1001), stamps="90k", seconds=SECONDS),
    "HEVC, 59.94 a second, Opus": Spec("hevc", rate=Fraction(60000, 1001), audio="opus", seconds=SECONDS),
    "varying rate, MP3": Spec(stamps="vfr", audio="mp3", seconds=SECONDS),
}
WRONG = ("conformance", "truncated", "error")


def mediainfo(path: Path) -> dict[str, dict[str, Any]]:
    """Return all that it says about a file: of the file, and of each kind of track."""
    command = [program("mediainfo"), "--Full", "--Output=JSON", str(path)]
    said = subprocess.run(command, env=environment("mediainfo"), capture_output=True, check=True).stdout
    return {track["@type"]: track for track in json.loads(said)["media"]["track"]}


def complaints(said: Any) -> Iterator[str]:
    if isinstance(said, dict):
        for name, value in said.items():
            yield from [name] if any(word in name.lower() for word in WRONG) else complaints(value)


@pytest.mark.parametrize("what", SPECS)
def test_clips_are_what_their_records_say(what: str, tmp_path: Path) -> None:
    of = record(SPECS[what], tmp_path / "of")
    for cut, first, end in ((cut_exact, 17, 71), (cut_exact, 20, 21), (cut_fast, 17, 71)):
        result = cut(plan_cut(of.source(), of.time(first), of.time(end)), tmp_path / "clip.mp4")
        said = mediainfo(result.path)
        assert [*complaints(said)] == []
        assert set(said) == {"General", "Video", "Audio"}
        assert said["General"]["IsStreamable"] == "Yes"
        assert int(said["Video"]["FrameCount"]) == result.frames
        for track in ("General", "Video", "Audio"):
            assert float(said[track]["Duration"]) == pytest.approx(float(result.duration), abs=0.001)
        if result.rate is not None and result.frames > 1:
            assert said["Video"]["FrameRate_Mode"] == "CFR"
            assert float(said["Video"]["FrameRate"]) == pytest.approx(float(result.rate), abs=0.001)
