"""Real media for recordings: segments that ffmpeg wrote, announced as an ingester would."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import imageio_ffmpeg

from shared.messages.media import SegmentWritten
from shared.store.base import MediaStore
from tests.support.recordings import Session

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
CODECS = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast"],
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params", "log-level=none"],
    "av1": ["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=2"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
}
SOUND = {"aac": ["-c:a", "aac"], "opus": ["-c:a", "libopus", "-ar", "48000"]}


@dataclass(frozen=True)
class Encoded:
    """An init segment and its segments with their durations in s; each holds `frames` pictures."""

    init: bytes
    segments: tuple[tuple[bytes, Fraction], ...]
    frames: int


def encode(
    folder: Path, seconds: int, *, size: str = "320x180", rate: int = 25, video: str = "h264", audio: str = "aac"
) -> Encoded:
    """Encode a test picture with a tone to fragmented MP4 segments of 1 s."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        FFMPEG, "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}", "-f", "lavfi", "-i", "sine=r=48000",
        "-t", str(seconds), *CODECS[video], "-pix_fmt", "yuv420p", "-g", str(rate), "-keyint_min", str(rate),
        "-sc_threshold", "0", "-bf", "0", *SOUND[audio], "-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod",
        "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", "init.mp4",
        "-hls_segment_filename", str(folder / "%03d.m4s"), str(folder / "all.m3u8"),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=60)
    durations = [Fraction(d) for d in re.findall(r"#EXTINF:([\d.]+),", (folder / "all.m3u8").read_text())]
    files = sorted(folder.glob("*.m4s"))
    assert len(files) == len(durations) == seconds
    return Encoded(
        (folder / "init.mp4").read_bytes(),
        tuple((file.read_bytes(), length) for file, length in zip(files, durations, strict=True)),
        rate,
    )


@cache
def _encoded(folder: Path, seconds: int, video: str, audio: str, size: str) -> Encoded:
    return encode(folder / f"{video}-{audio}-{size}-{seconds}", seconds, video=video, audio=audio, size=size)


def record(
    store: MediaStore,
    session: Session,
    folder: Path,
    seconds: int,
    *,
    video: str = "h264",
    audio: str = "aac",
    size: str = "320x180",
) -> list[SegmentWritten]:
    """Put real segments of 1 s into the store as `session`'s, and return what its ingester would announce."""
    encoded = _encoded(folder, seconds, video, audio, size)
    session.duration = session.timescale
    announced = []
    for sequence, (data, length) in enumerate(encoded.segments):
        segment = session.segment(
            sequence,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            duration=int(length * session.timescale),
        )
        if sequence == 0:
            store.put(segment.init_key, encoded.init)
        store.begin(segment.key).write_bytes(data)
        store.commit(segment.key)
        announced.append(segment)
    return announced


def play(url: str, *options: str) -> tuple[int, str]:
    """Play a URL to its end with ffmpeg as the player; return pictures decoded, and every warning.

    But for its word on the init segment of a next session, which it may read ahead of what it plays.
    """
    command = [
        FFMPEG, "-nostdin", "-v", "warning", "-xerror", *options, "-i", url, "-map", "0:v:0", "-map", "0:a:0?",
        "-fps_mode", "passthrough", "-progress", "pipe:1", "-f", "null", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    frames = re.findall(r"frame=(\d+)", done.stdout)
    assert done.returncode == 0, done.stderr
    warnings = (line for line in done.stderr.splitlines(keepends=True) if "Found duplicated MOOV Atom" not in line)
    return int(frames[-1]) if frames else 0, "".join(warnings)
