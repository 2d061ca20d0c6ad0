"""From an encoder's bytes, as RTMP and SRT bring them, through the recorder to clips: each frame, each sample."""

from __future__ import annotations

import subprocess
import wave
from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper.cutting import CutSource, Run, Segment, cut_exact, plan_cut, verify_clip
from services.ingester.recorder.model import SegmentInfo
from tests.support.framecode import AUDIO_RATE, HEIGHT, WIDTH, beep_starts, beeps, ffmpeg, paint, play
from tests.support.media_recording import Recorded, pieces

SECONDS = 6
RATES = {"25": Fraction(25), "29.97": Fraction(30000, 1001), "30": Fraction(30), "59.94": Fraction(60000, 1001)}


def stream(kind: str, rate: Fraction, bframes: int, folder: Path, *extra: str) -> bytes:
    """Encode frames from 0 on and a beep a second into FLV or MPEG-TS, as a publisher sends it."""
    folder.mkdir(parents=True, exist_ok=True)
    sound = folder / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
        file.writeframes(beeps(Fraction(SECONDS)).tobytes())
    out = folder / f"stream.{kind}"
    options = f"keyint={2 * round(rate)}:min-keyint=1:scenecut=0:bframes={bframes}"
    command = [ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
    command += ["-r", str(rate), "-i", "-", "-i", str(sound), "-pix_fmt", "yuv420p", "-r", str(rate)]
    command += ["-c:v", "libx264", "-preset", "superfast", "-crf", "26", "-x264-params", options]
    command += ["-c:a", "aac", "-b:a", "96k", *extra, "-f", "flv" if kind == "flv" else "mpegts", str(out)]
    frames = b"".join(paint(number).tobytes() for number in range(int(SECONDS * rate)))
    subprocess.run(command, input=frames, check=True, timeout=120)
    return out.read_bytes()


def source_of(recorded: Recorded) -> CutSource:
    """Announce the segments as a feed does: stream time 0 is where the first keyframe is shown."""
    infos: list[SegmentInfo] = recorded.segments
    zero = infos[0].keyframes[0]
    by_init: dict[int, list[SegmentInfo]] = {}
    for info in infos:
        by_init.setdefault(info.init_number, []).append(info)
    return CutSource(
        tuple(
            Run(
                recorded.init(number),
                tuple(Segment(info.path, info.start, info.duration) for info in group),
                Fraction(-zero, 90000),
                "a" * 32,
                zero,
            )
            for number, group in by_init.items()
        )
    )


@pytest.mark.parametrize("bframes", [0, 3])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["flv", "mpegts"])
def test_points_in_ms_and_beeps(kind: str, rate: str, bframes: int, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "recorded")
    recorded.run(kind, pieces(stream(kind, RATES[rate], bframes, tmp_path)))
    source, fps = source_of(recorded), RATES[rate]
    for first, end in ((0, 70), (1, 100), (37, 143), (61, 62)):
        start, out = (Fraction(round(number / fps * 1000), 1000) for number in (first, end))
        plan = plan_cut(source, start, out)
        result = cut_exact(plan, tmp_path / "clip.mp4")
        verify_clip(result, plan)
        seen = play(result.path)
        assert (seen.numbers, seen.warnings, result.gaps) == (list(range(first, end)), "", ())
        assert (result.start, result.end) == (first / fps, end / fps)
        assert abs(len(seen.sound) - result.duration * AUDIO_RATE) <= 1
        expected = [(s - first / fps) * AUDIO_RATE for s in range(SECONDS)]
        # A beep is loud from its 3rd sample on; sound coded by AAC is 3 samples blurred.
        late = [at - wanted for at in beep_starts(seen.sound) for wanted in expected if abs(at - wanted) < 200]
        assert len(late) >= len([wanted for wanted in expected if 0 < wanted < len(seen.sound) - 2400])
        assert all(-4 <= off - 2 <= 4 for off in late), late
