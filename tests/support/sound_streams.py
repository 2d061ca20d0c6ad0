"""Streams of numbered pictures and a beep a second in every sound codec, as encoders send them."""

from __future__ import annotations

import functools
import subprocess
import tempfile
import wave
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.support import media_streams as media
from tests.support.framecode import AUDIO_RATE, HEIGHT, WIDTH, Sound, beep_starts, beeps, ffmpeg, paint

SECONDS = 6
FPS = 25
GOP = 50


class Coding(NamedTuple):
    """How sound is encoded and sent, and how it is recorded: codec, HLS name, rate, samples of a packet."""

    options: tuple[str, ...]
    form: str
    codec: str
    named: str
    rate: int
    packet: int


DVB = ("-mpegts_flags", "system_b")
LOW = ("-c:a", "libmp3lame", "-b:a", "32k")
CODINGS = {
    "mp3-ts": Coding(("-c:a", "libmp3lame", "-b:a", "128k"), "mpegts", "mp3", "mp4a.6B", 48_000, 1152),
    "mp3-low-ts": Coding((*LOW, "-ar", "44100"), "mpegts", "mp3", "mp4a.6B", 44_100, 1152),
    "mp3-vbr-flv": Coding(("-c:a", "libmp3lame", "-q:a", "7", "-ar", "44100"), "flv", "mp3", "mp4a.6B", 44_100, 1152),
    "mp3-lsf-ts": Coding(("-c:a", "libmp3lame", "-ar", "24000"), "mpegts", "mp3", "mp4a.69", 24_000, 576),
    "mp3-lsf-flv": Coding(("-c:a", "libmp3lame", "-ar", "22050"), "flv", "mp3", "mp4a.69", 22_050, 576),
    "mp2-ts": Coding(("-c:a", "mp2"), "mpegts", "mp2", "mp4a.6B", 48_000, 1152),
    "ac3-ts": Coding(("-c:a", "ac3"), "mpegts", "ac3", "ac-3", 48_000, 1536),
    "ac3-dvb": Coding(("-c:a", "ac3", "-ac", "6", *DVB), "mpegts", "ac3", "ac-3", 48_000, 1536),
    "ac3-44-ts": Coding(("-c:a", "ac3", "-ar", "44100"), "mpegts", "ac3", "ac-3", 44_100, 1536),
    "ac3-flv": Coding(("-c:a", "ac3"), "flv", "ac3", "ac-3", 48_000, 1536),
    "eac3-ts": Coding(("-c:a", "eac3"), "mpegts", "eac3", "ec-3", 48_000, 1536),
    "eac3-dvb": Coding(("-c:a", "eac3", *DVB), "mpegts", "eac3", "ec-3", 48_000, 1536),
    "eac3-flv": Coding(("-c:a", "eac3", "-ac", "6"), "flv", "eac3", "ec-3", 48_000, 1536),
    "opus-ts": Coding(("-c:a", "libopus"), "mpegts", "opus", "opus", 48_000, 960),
    "opus-flv": Coding(("-c:a", "libopus"), "flv", "opus", "opus", 48_000, 960),
    "flac-flv": Coding(("-c:a", "flac"), "flv", "flac", "fLaC", 48_000, 4096),
    "aac-ts": Coding(("-c:a", "aac"), "mpegts", "aac", "mp4a.40.2", 48_000, 1024),
}


@functools.lru_cache(maxsize=32)
def coded(options: tuple[str, ...], form: str) -> bytes:
    """Encode frames from 0 on and a beep a second, as a publisher sends them."""
    with tempfile.TemporaryDirectory() as folder:
        sound, out = Path(folder) / "sound.wav", Path(folder) / "out"
        with wave.open(str(sound), "wb") as file:
            file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
            file.writeframes(beeps(Fraction(SECONDS)).tobytes())
        command = [ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
        command += ["-r", str(FPS), "-i", "-", "-i", str(sound), "-pix_fmt", "yuv420p", "-c:v", "libx264"]
        command += ["-preset", "superfast", "-x264-params", f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=2"]
        command += [*options, "-f", form, str(out)]
        frames = b"".join(paint(number).tobytes() for number in range(SECONDS * FPS))
        subprocess.run(command, input=frames, check=True, timeout=120)
        return out.read_bytes()


def stream(coding: Coding) -> bytes:
    """Encode the stream of a coding."""
    return coded(coding.options, coding.form)


def heard(path: Path, track: int = 0) -> Sound:
    """Decode sound with the real ffmpeg: one channel, at 48 kHz."""
    data = media.run("-v", "error", "-xerror", "-i", path, "-map", f"0:a:{track}", "-af", "pan=mono|c0=c0", "-ar",
                     str(AUDIO_RATE), "-f", "s16le", "-")  # fmt: skip
    return np.frombuffer(data, np.int16)


def clear_starts(sound: Sound) -> list[int]:
    """Return the samples at which beeps start; a channel of 5.1 is quieter than one alone."""
    peak = int(np.abs(sound.astype(np.int32)).max(initial=0))
    return beep_starts((sound.astype(np.int32) * 22_000 // max(peak, 1)).astype(np.int16))


@functools.lru_cache(maxsize=8)
def several(*languages: str, form: str = "mpegts") -> bytes:
    """Encode a program of one video and several sound tracks; those of track n beep n * 200 ms after whole seconds."""
    codecs = ("aac", "ac3", "mp2" if form == "mpegts" else "libopus", "libmp3lame")
    with tempfile.TemporaryDirectory() as folder:
        video, out = Path(folder) / "one.ts", Path(folder) / "all.ts"
        video.write_bytes(coded(("-c:a", "aac"), "mpegts"))
        command: list[str | Path] = ["-v", "error", "-i", video]
        for number in range(len(languages)):
            sound = Path(folder) / f"{number}.wav"
            with wave.open(str(sound), "wb") as file:
                file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
                file.writeframes(bytes(2 * number * BEEP_STEP) + beeps(Fraction(SECONDS)).tobytes())
            command += ["-t", str(SECONDS), "-i", sound]
        command += ["-map", "0:v", "-c:v", "copy"]
        for number, language in enumerate(languages):
            command += ["-map", f"{number + 1}:a", f"-c:a:{number}", codecs[number]]
            command += [f"-metadata:s:a:{number}", f"language={language}"] if language else []
        media.run(*command, "-f", form, out)
        return out.read_bytes()


BEEP_STEP = AUDIO_RATE // 5
