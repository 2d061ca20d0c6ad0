"""Pictures that show their number, sound that beeps at known samples, and what a player sees of them.

A frame's number is written as a Gray code of big blocks, which survives strong compression. Every beep starts on
a whole second, so that picture and sound can be compared to the sample.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 320, 180
BLOCK = 32
BITS = 10
DARK, LIGHT = 40, 210
AUDIO_RATE = 48000
BEEP_SAMPLES = 2400  # 50 ms
BEEP_HZ = 1000
Pictures = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.int16]


def ffmpeg() -> str:
    """Return the path of the ffmpeg program."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def paint(number: int, width: int = WIDTH, height: int = HEIGHT) -> Pictures:
    """Paint frame `number` in grey: the code on top, its complement below it, and something that moves."""
    picture = np.full((height, width), 128, np.uint8)
    gray = number ^ (number >> 1)
    for bit in range(BITS):
        level, other = (LIGHT, DARK) if gray >> bit & 1 else (DARK, LIGHT)
        left = bit * BLOCK
        picture[0:BLOCK, left : left + BLOCK] = level
        picture[BLOCK : 2 * BLOCK, left : left + BLOCK] = other
    lines, columns = np.mgrid[2 * BLOCK : height, 0:width]
    picture[2 * BLOCK :] = 90 + ((lines * 3 + columns + number * 5) % 96)
    return picture


def read_number(picture: npt.NDArray[np.integer]) -> int:
    """Read the number of a painted frame (grey levels, 8 bit); -1 when it is not readable."""
    gray = 0
    for bit in range(BITS):
        inner = slice(bit * BLOCK + 8, bit * BLOCK + BLOCK - 8)
        top = float(picture[8 : BLOCK - 8, inner].mean())
        below = float(picture[BLOCK + 8 : 2 * BLOCK - 8, inner].mean())
        if abs(top - below) < 40:
            return -1
        gray |= int(top > below) << bit
    number = 0
    while gray:
        number ^= gray
        gray >>= 1
    return number


def beeps(seconds: Fraction) -> Sound:
    """Make sound of that length: silence with a beep at every whole second."""
    sound = np.zeros(int(seconds * AUDIO_RATE), np.float64)
    tone = 0.7 * np.sin(2 * np.pi * BEEP_HZ * np.arange(BEEP_SAMPLES) / AUDIO_RATE)
    for second in range(int(seconds)):
        at = second * AUDIO_RATE
        room = min(BEEP_SAMPLES, len(sound) - at)
        sound[at : at + room] = tone[:room]
    return (sound * 32767).astype(np.int16)


def beep_starts(sound: Sound) -> list[int]:
    """Return the samples at which beeps start."""
    loud = np.abs(sound.astype(np.int32)) > 3000
    found: list[int] = []
    quiet_since = -BEEP_SAMPLES
    for at in np.flatnonzero(loud).tolist():
        if at - quiet_since > BEEP_SAMPLES // 2:
            found.append(at)
        quiet_since = at
    return found


@dataclass(frozen=True)
class Seen:
    """What a player gets from a clip: frame numbers and MD5s in order, sound, and ffmpeg's messages."""

    numbers: list[int]
    digests: list[str]
    sound: Sound
    warnings: str


def play(clip: Path, *, video: bool = True, audio: bool = True) -> Seen:
    """Decode a whole clip with ffmpeg, which stops at the first error; sound as mono at 48 kHz."""
    command = [ffmpeg(), "-v", "warning", "-xerror", "-y", "-i", str(clip)]
    if video:
        command += ["-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", "1:90000"]
        command += ["-s", f"{WIDTH}x{HEIGHT}", "-pix_fmt", "yuv420p", "-f", "rawvideo", "pipe:1"]
    heard = clip.with_suffix(".pcm")
    if audio:
        command += ["-map", "0:a:0", "-ac", "1", "-ar", str(AUDIO_RATE), "-f", "s16le", str(heard)]
    result = subprocess.run(command, capture_output=True, check=False, timeout=120)
    frames = np.frombuffer(result.stdout, np.uint8).reshape(-1, HEIGHT * 3 // 2, WIDTH)
    sound = np.fromfile(heard, np.int16) if audio else np.zeros(0, np.int16)
    heard.unlink(missing_ok=True)
    return Seen(
        [read_number(frame[:HEIGHT]) for frame in frames],
        [hashlib.md5(frame.tobytes()).hexdigest() for frame in frames],
        sound,
        result.stderr.decode(),
    )


def payloads(clip: Path) -> list[str]:
    """Return the MD5 of every video packet in a file, in decode order."""
    with av.open(str(clip)) as container:
        return [hashlib.md5(bytes(packet)).hexdigest() for packet in container.demux(video=0) if packet.size]
