"""Real encodes for tests, and what a real decoder reports of files."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from shared.media.model import SampleTable
from shared.media.mp4.fragments import Sample
from shared.media.mp4.init import aac_config, opus_config, video_config
from shared.media.tracks import TrackConfig

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
VIDEO = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "stillimage"],
    "h264-b": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2"],
    "h264-open": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-x264-params", "open-gop=1"],
    "hevc-open": [
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-bf",
        "3",
        "-x265-params",
        "log-level=error:open-gop=1:bframes=3:min-keyint=1:scenecut=0",
    ],
    "av1": ["-c:v", "libsvtav1", "-preset", "10"],
    "av1-aom": ["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-b:v", "400k"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", "5", "-b:v", "400k", "-lag-in-frames", "16"],
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:open-gop=0"],
}
AUDIO = {
    "aac": ["-c:a", "aac", "-b:a", "96k"],
    "opus": ["-c:a", "libopus", "-b:a", "64k"],
    "mp3": ["-c:a", "libmp3lame", "-b:a", "64k", "-ar", "44100"],
}


def run(*arguments: str | Path, data: bytes | None = None) -> bytes:
    """Run ffmpeg; return its standard output; fail with its messages on an error."""
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-y", *map(str, arguments)] if data is None
        else [FFMPEG, "-hide_banner", "-y", *map(str, arguments)],
        input=data, capture_output=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def encode(
    out: Path,
    *,
    video: str | None = "h264",
    audio: str | None = "aac",
    seconds: float = 6,
    rate: str = "30",
    gop: int = 60,
    size: str = "320x180",
    more: tuple[str, ...] = (),
) -> Path:
    """Encode a moving test picture and a tone; the container follows the name's suffix."""
    inputs: list[str] = []
    codecs: list[str] = []
    if video:
        inputs += ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}"]
        codecs += [*VIDEO[video], "-pix_fmt", "yuv420p", "-g", str(gop), "-keyint_min", str(gop),
                   "-sc_threshold", "0", "-threads", "1"]  # fmt: skip
    if audio:
        inputs += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:beep_factor=4"]
        codecs += [*AUDIO[audio], "-ac", "2"]
    run("-v", "error", *inputs, "-t", str(seconds), *codecs, "-flags", "+bitexact", *more, out)
    return out


def frame_hashes(source: Path, stream: str = "v:0") -> list[tuple[int, str]]:
    """Decode a stream strictly with the real ffmpeg: (presentation time in microseconds, MD5) per frame."""
    text = run("-v", "error", "-xerror", "-i", source, "-map", f"0:{stream}", "-fps_mode", "passthrough",
               "-enc_time_base", "1/1000000", "-f", "framemd5", "-").decode()  # fmt: skip
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    return [(int(row[2]), row[5].strip()) for row in rows]


def warnings(source: Path) -> str:
    """Decode everything with the real ffmpeg; return its warnings (empty when there are none)."""
    done = subprocess.run([FFMPEG, "-hide_banner", "-nostdin", "-v", "warning", "-xerror", "-i", str(source),
                           "-map", "0", "-f", "null", "-"], capture_output=True, timeout=120, check=False)  # fmt: skip
    return done.stderr.decode() + (f"exit {done.returncode}" if done.returncode else "")


@dataclass
class Demuxed:
    """A file's tracks in MP4's form: configs and samples by track id (1 video, 2 audio)."""

    configs: list[TrackConfig]
    samples: dict[int, list[Sample]]


def demux(path: Path, scale: int = 90000) -> Demuxed:
    """Demux FLV or MP4 with PyAV: an independent way to samples, used to test writers."""
    configs: dict[int, TrackConfig] = {}
    samples: dict[int, list[Sample]] = {}
    with av.open(str(path)) as container:
        for stream in container.streams:
            data = bytes(stream.codec_context.extradata or b"")
            name = stream.codec_context.name
            if stream.type == "video":
                configs[stream.index] = video_config("hevc" if name == "hevc" else "h264", data, scale)
            elif name == "aac":
                configs[stream.index] = aac_config(data)
            else:
                configs[stream.index] = opus_config(data)
        for packet in container.demux():
            if packet.size:
                config = configs[packet.stream_index]
                unit = packet.time_base * config.timescale
                times = (round(packet.dts * unit), round(packet.pts * unit), round((packet.duration or 0) * unit))
                sync = packet.is_keyframe
                samples.setdefault(config.track_id, []).append(Sample(*times, sync, bytes(packet)))
    for track, rows in samples.items():
        ends = [row.dts for row in rows[1:]] + [rows[-1].dts + (rows[-1].duration or 1)]
        samples[track] = [r._replace(duration=e - r.dts) for r, e in zip(rows, ends, strict=True)]
    return Demuxed(sorted(configs.values(), key=lambda c: c.track_id), samples)


def stored_table(samples: list[Sample], path: Path, at: int = 0) -> SampleTable:
    """Write payloads one after the other into a file; return their sample table."""
    path.write_bytes(bytes(at) + b"".join(s.payload for s in samples))
    sizes = np.array([len(s.payload) for s in samples], np.int64)
    return SampleTable(
        dts=np.array([s.dts for s in samples], np.int64),
        pts=np.array([s.pts for s in samples], np.int64),
        duration=np.array([s.duration for s in samples], np.int64),
        size=sizes,
        sync=np.array([s.sync for s in samples], np.bool_),
        offset=at + np.cumsum(sizes) - sizes,
        source=np.zeros(len(samples), np.int64),
        files=(path,),
    )
