"""Several sound tracks through clips: each copied, named, and where it was against the pictures."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from services.clipper.cutting import CutPlan, CutResult, CutSource, Run, cut_exact, cut_fast, plan_cut, verify_clip
from tests.integration.clipper.test_cutting_recorded import source_of
from tests.support import media_streams as media
from tests.support.framecode import AUDIO_RATE, play
from tests.support.media_recording import Recorded, pieces
from tests.support.sound_streams import BEEP_STEP, FPS, SECONDS, clear_starts, heard, several


def recorded(folder: Path, *languages: str) -> Recorded:
    made = Recorded(folder)
    made.run("mpegts", pieces(several(*languages), 1316))
    return made


def languages(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.metadata.get("language", "") for stream in container.streams.audio]


def check_beeps(clip: CutResult, number: int, start: Fraction) -> None:
    """A track's beeps begin so long after whole seconds of the recording as they did when they were sent."""
    sent = [round((second - start) * AUDIO_RATE) + number * BEEP_STEP for second in range(SECONDS)]
    got = [at for at in clear_starts(heard(clip.path, number)) if at > 100]  # one that is cut begins at once
    inside = [at for at in sent if 100 < at < clip.duration * AUDIO_RATE - 2400]
    assert len([at for at in got if any(abs(at - wanted) <= 8 for wanted in inside)]) == len(inside), (got, inside)


@pytest.mark.parametrize("cut", [cut_exact, cut_fast])
@pytest.mark.parametrize(("first", "end"), [(0, 70), (37, 143)])
def test_all_tracks_are_cut_where_they_were(
    cut: Callable[[CutPlan, Path], CutResult], first: int, end: int, tmp_path: Path
) -> None:
    made = recorded(tmp_path / "recorded", "eng", "deu", "fra")
    plan = plan_cut(source_of(made), Fraction(first, FPS), Fraction(end, FPS))
    clip = cut(plan, tmp_path / "clip.mp4")
    verify_clip(clip, plan)
    assert len(clip.packets) == 3
    assert media.warnings(clip.path) == ""
    assert languages(clip.path) == ["eng", "deu", "fra"]
    with av.open(str(clip.path)) as container:
        assert [s.codec_context.name for s in container.streams.audio] == ["aac", "ac3", "mp3float"]
        enabled = [bool(int(s.disposition) & 1) for s in container.streams.audio]
        assert enabled == [True, False, False], "one is played by default"
    seen = play(clip.path, audio=False)
    if clip.exact:
        assert seen.numbers == list(range(first, end))
    for number in range(3):
        check_beeps(clip, number, clip.start)


def test_a_session_without_a_track_is_silent_in_it(tmp_path: Path) -> None:
    """Where an encoder comes back with other tracks, those of one language are one track."""
    one, other = recorded(tmp_path / "one", "eng", "deu", "fra"), recorded(tmp_path / "other", "eng", "deu")
    before, after = source_of(one).runs[0], source_of(other).runs[0]
    later = Run(after.init, after.segments, after.origin + SECONDS + 1, "b" * 32, after.zero)
    plan = plan_cut(CutSource((before, later)), Fraction(4), Fraction(SECONDS + 1 + 4))
    clip = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(clip, plan)
    assert languages(clip.path) == ["eng", "deu", "fra"]
    assert media.warnings(clip.path) == ""
    for number in (0, 1):
        assert len(clear_starts(heard(clip.path, number))) >= 5
    assert len(clear_starts(heard(clip.path, 2))) in (1, 2), "it ends with its session"
    check_beeps(clip, 1, Fraction(4))


def test_a_hole_in_one_track_is_silence_in_it_alone(tmp_path: Path) -> None:
    made = Recorded(tmp_path / "recorded")
    data = several("eng", "deu", "fra")
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    lost = range(int(len(packets) * 0.3), int(len(packets) * 0.6))
    kept = (p for n, p in enumerate(packets) if n not in lost or (p[1] & 31) << 8 | p[2] != 0x102)
    made.run("mpegts", pieces(b"".join(kept), 1316))
    plan = plan_cut(source_of(made), Fraction(1), Fraction(5))
    clip = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(clip, plan)
    assert not clip.gaps
    check_beeps(clip, 0, Fraction(1))
    check_beeps(clip, 2, Fraction(1))
    assert len(heard(clip.path, 1)) == pytest.approx(clip.duration * AUDIO_RATE, abs=1), "coded silence fills it"
    assert 1 <= len(clear_starts(heard(clip.path, 1))) <= 3
