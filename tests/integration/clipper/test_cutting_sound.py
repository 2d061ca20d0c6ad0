"""Sound of every recorded codec through clips: copied packet by packet, and right to the sample from end to end."""

from __future__ import annotations

import functools
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
import pytest

from services.clipper.cutting import CutResult, CutSource, cut_exact, cut_fast, plan_cut, verify_clip
from services.clipper.cutting.layout import read_layout
from shared.media.mp4.fragments import read_fragments
from tests.integration.clipper.test_cutting_recorded import source_of
from tests.support import media_streams as media
from tests.support.framecode import AUDIO_RATE
from tests.support.media_recording import Recorded, pieces
from tests.support.sound_streams import CODINGS, FPS, Coding, stream

Floats = npt.NDArray[np.float32]
CUT = [
    "mp3-low-ts", "mp3-vbr-flv", "mp3-lsf-ts", "mp2-ts", "ac3-44-ts", "ac3-dvb", "eac3-flv", "opus-ts", "opus-flv",
    "flac-flv",
]  # fmt: skip
POINTS = {"from the start": (0, 70), "inside GOPs": (37, 143), "one frame": (61, 62)}
ROUGH = {"opus": 0.005, "ac3": 0.01, "eac3": 0.01}
"""Opus decoders that begin elsewhere only come close; those of AC-3 add noise of their own."""


class Original(NamedTuple):
    """A recording, its sound decoded from end to end, and the stream time of its first sample."""

    recorded: Recorded
    source: CutSource
    sound: Floats
    begin: Fraction
    payloads: list[bytes]


def pcm(path: Path) -> Floats:
    """Decode the first channel with the real ffmpeg, which stops at the first error."""
    data = media.run("-v", "error", "-xerror", "-i", path, "-map", "0:a:0", "-af", "pan=mono|c0=c0", "-f", "f32le", "-")
    return np.frombuffer(data, np.float32)


def payloads(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def rising(coding: Coding, folder: Path) -> bytes:
    """Put a rising tone in place of the beeps: each sample is then told by those around it.

    Noise would not do: decoders of AC-3 and AAC make up noise of their own, another one each time.
    """
    source, out = folder / f"beeps.{coding.form}", folder / f"tone.{coding.form}"
    source.write_bytes(stream(coding))
    tone = f"aevalsrc=exprs='0.5*sin(2*PI*(300*t+200*t*t))':duration=6:sample_rate={AUDIO_RATE}"
    exact = ("-aac_pns", "0") if coding.codec == "aac" else ()
    media.run("-v", "error", "-i", source, "-f", "lavfi", "-i", tone, "-map", "0:v", "-map", "1:a", "-c:v", "copy",
              *coding.options, *exact, "-f", coding.form, out)  # fmt: skip
    return out.read_bytes()


@functools.lru_cache(maxsize=len(CODINGS))
def original(name: str) -> Original:
    folder = Path(tempfile.mkdtemp())
    coding = CODINGS[name]
    recorded = Recorded(folder / "recorded")
    recorded.run(coding.form, pieces(rising(coding, folder)))
    joined = recorded.joined()
    packets, newest = payloads(joined), read_fragments(recorded.segments[-1].path).tables[2]
    skipped = 312 if name == "opus-flv" else 0  # a file's beginning is skipped by players (pre-skip)
    earlier = (len(packets) - 1) * int(np.median(newest.duration))
    first = int(newest.dts[-1]) - earlier + skipped  # of the grid as it has settled
    begin = Fraction(first, coding.rate) - Fraction(recorded.segments[0].keyframes[0], 90000)
    return Original(recorded, source_of(recorded), pcm(joined), begin, packets)


def check_samples(clip: CutResult, made: Original, coding: Coding) -> None:
    """Compare the clip's sound with the recording's of the same time, sample by sample."""
    rate, near = coding.rate, 1 if coding.form == "mpegts" else coding.rate // 1000  # times of RTMP are rounded to ms
    heard = pcm(clip.path)
    first = round((clip.start - made.begin) * rate)
    assert abs(len(heard) - min(round(clip.duration * rate), len(made.sound) - first)) <= near
    low = max(near + 1 - first, 0)  # before the recording's first sample
    errors = {}
    for shift in range(-near - 1, near + 2):
        wanted = made.sound[first + low + shift : first + len(heard) + shift]
        got = heard[low : low + len(wanted)]
        errors[shift] = float(np.abs(got - wanted[: len(got)]).max())
    best = min(errors, key=errors.__getitem__)
    assert abs(best) <= near, errors
    assert errors[best] <= ROUGH.get(coding.codec, 1e-4), errors


@pytest.mark.parametrize("name", CUT)
def test_each_sample_of_a_clip_is_the_recordings(name: str, tmp_path: Path) -> None:
    coding, made = CODINGS[name], original(name)
    for at, (first, end) in enumerate(POINTS.values()):
        plan = plan_cut(made.source, Fraction(first, FPS), Fraction(end, FPS))
        for cut in (cut_exact, cut_fast):
            clip = cut(plan, tmp_path / f"{cut.__name__}-{at}.mp4")
            verify_clip(clip, plan)
            assert media.warnings(clip.path) == ""
            assert set(payloads(clip.path)) <= set(made.payloads), "nothing is encoded again"
            assert {track.entries for track in read_layout(clip.path) if track.kind == "soun"} == {1}
            check_samples(clip, made, coding)
            assert not clip.gaps
