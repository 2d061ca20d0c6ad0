"""Files are opened without decoding a picture of them: what is told of them is what FFmpeg finds by decoding."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import av
import pytest

from services.restreamer.model import FLICKS
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.sniff import sniff
from services.restreamer.sources.containers.tracks import rate_of
from services.restreamer.sources.origins.files import LocalFile
from tests.support.framecode import ffmpeg

X264 = ("-c:v", "libx264", "-preset", "ultrafast")
KINDS: dict[str, tuple[str, ...]] = {
    "no B-frames": (*X264, "-bf", "0"),
    "B-frames": (*X264, "-bf", "2"),
    "a pyramid of B-frames": ("-c:v", "libx264", "-preset", "faster", "-bf", "7", "-x264-params", "b-pyramid=normal"),
    "sixteen B-frames": ("-c:v", "libx264", "-preset", "faster", "-bf", "16", "-x264-params", "b-adapt=0"),
    "open GOPs": (*X264, "-bf", "3", "-g", "10", "-x264-params", "open-gop=1"),
    "intra refresh": (*X264, "-bf", "0", "-x264-params", "intra-refresh=1"),
    "29.97 a second": (*X264, "-bf", "2", "-r", "30000/1001"),
    "fields": (*X264, "-bf", "2", "-x264-params", "tff=1"),
    "a rate that varies": (*X264, "-bf", "2", "-vf", "select=not(mod(n\\,3))+not(mod(n\\,5))", "-fps_mode", "vfr"),
    "no sound": (*X264, "-bf", "2", "-an"),
    "MP3": (*X264, "-bf", "2", "-c:a", "libmp3lame"),
    "HEVC": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:bframes=3"),
}


@pytest.mark.parametrize("suffix", ["mp4", "flv", "ts", "mkv"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_is_told_as_by_decoding(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    command = [ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x96:r=30", "-f", "lavfi", "-i", "sine"]
    subprocess.run([*command, "-t", "3", "-ar", "44100", *KINDS[kind], str(path)], check=True, timeout=120)
    file = LocalFile(os.open(path, os.O_RDONLY))
    demuxer = Demuxer(file, sniff(file.head()))
    with av.open(str(path)) as decoded:
        video = decoded.streams.video[0]
        assert demuxer._video_stream is not None
        assert rate_of(demuxer._video_stream) == rate_of(video)
        assert demuxer.end == ((decoded.start_time or 0) + (decoded.duration or 0)) * FLICKS // av.time_base
        found = [_frame(packet) for packet in decoded.demux() if packet.size]
    assert [(raw.kind, raw.dts, raw.pts, raw.key) for raw in demuxer.frames()] == found
    demuxer.close()
    file.close()


def _frame(packet: av.Packet) -> tuple[str, int | None, int | None, bool]:
    dts, pts = (None if at is None else round(at * packet.time_base * FLICKS) for at in (packet.dts, packet.pts))
    return packet.stream.type, dts, pts, packet.is_keyframe or packet.stream.type == "audio"
