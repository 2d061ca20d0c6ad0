"""Files for playout: numbered pictures and beeps, encoded by a real ffmpeg."""

from __future__ import annotations

import functools
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.support.framecode import AUDIO_RATE, HEIGHT, WIDTH, Sound, beeps, ffmpeg, paint

CODECS = {"h264": ("libx264", "superfast"), "hevc": ("libx265", "ultrafast")}


@dataclass(frozen=True)
class Clip:
    """A file to make: numbered pictures from `first` on, beeps on whole seconds (or a tone)."""

    frames: int = 60
    first: int = 0
    rate: Fraction = Fraction(30)
    codec: str = "h264"
    bframes: int = 2
    gop: int = 30
    size: tuple[int, int] = (WIDTH, HEIGHT)
    audio: str | None = "aac"
    audio_rate: int = AUDIO_RATE
    channels: int = 1
    tone: int = 0
    suffix: str = ".mp4"
    options: tuple[str, ...] = ()


def make(clip: Clip, path: Path) -> Path:
    """Encode a file with a real ffmpeg; each clip is encoded only once."""
    out = path.with_suffix(clip.suffix)
    if clip.suffix == ".m3u8":  # not one file alone
        return _encode(clip, out)
    out.write_bytes(_encoded(clip))
    return out


@functools.lru_cache(maxsize=64)
def _encoded(clip: Clip) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return _encode(clip, Path(folder) / f"file{clip.suffix}").read_bytes()


def _encode(clip: Clip, out: Path) -> Path:
    seconds = clip.frames / clip.rate
    command = [ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
    command += ["-r", str(clip.rate), "-i", "-"]
    if clip.audio:
        with wave.open(str(out.with_suffix(".wav")), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(AUDIO_RATE)
            file.writeframes((tone(clip.tone, seconds) if clip.tone else beeps(seconds)).tobytes())
        command += ["-i", str(out.with_suffix(".wav")), "-c:a", clip.audio]
        command += ["-ar", str(clip.audio_rate), "-ac", str(clip.channels), "-b:a", "96k"]
    command += video_options(clip)
    if clip.size != (WIDTH, HEIGHT):
        command += ["-vf", f"scale={clip.size[0]}:{clip.size[1]}:flags=neighbor"]
    command += [*clip.options, str(out)]
    pictures = b"".join(paint(clip.first + number).tobytes() for number in range(clip.frames))
    subprocess.run(command, input=pictures, check=True, timeout=120)
    return out


def video_options(clip: Clip) -> list[str]:
    common = ["-g", str(clip.gop), "-pix_fmt", "yuv420p"]
    if clip.codec == "h264":
        settings = f"keyint={clip.gop}:min-keyint={clip.gop}:scenecut=0:bframes={clip.bframes}"
        return ["-c:v", "libx264", "-preset", "superfast", "-x264-params", settings, *common]
    if clip.codec == "hevc":
        settings = f"keyint={clip.gop}:min-keyint={clip.gop}:scenecut=0:bframes={clip.bframes}:log-level=none"
        return ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", settings, "-tag:v", "hvc1", *common]
    return ["-c:v", clip.codec, *common]


def tone(hertz: int, seconds: Fraction) -> Sound:
    """Return a sine of that length."""
    at = np.arange(int(seconds * AUDIO_RATE))
    return (0.5 * 32767 * np.sin(2 * np.pi * hertz * at / AUDIO_RATE)).astype(np.int16)
