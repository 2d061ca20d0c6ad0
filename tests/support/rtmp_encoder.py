"""Real ffmpeg publishers, and the packets that should arrive."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av

from shared.rtmp.amf import encode
from shared.rtmp.chunks import DATA_AMF0
from tests.support.media_streams import FFMPEG
from tests.support.rtmp_client import RtmpClient, chunked, read_flv, set_chunk_size
from tests.support.rtmp_flv import FlvFile
from tests.support.rtmp_server import Stream

METADATA_HEAD = encode("@setDataFrame")


class Arrived(NamedTuple):
    """One packet: kind of its stream, decode and presentation time (ms, from the stream's first packet), hash."""

    kind: str
    dts: int
    pts: int
    key: bool
    digest: str


def publish_command(source: Path, url: str, *more: str, real_time: bool = True) -> list[str]:
    """Return the ffmpeg command that publishes a file without encoding it again."""
    head = [FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "error", *(["-re"] if real_time else [])]
    return [*head, "-i", str(source), "-map", "0", "-c", "copy", *more, "-f", "flv", url]


def publish(source: Path, url: str, *more: str, real_time: bool = False) -> int:
    """Publish a file to its end; return ffmpeg's exit code."""
    command = publish_command(source, url, *more, real_time=real_time)
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode


@contextmanager
def publishing(commands: list[list[str]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run publishers; end those that still run."""
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def packets(container: av.container.InputContainer) -> dict[str, list[Arrived]]:
    """Demux to the end; times are in ms."""
    found: dict[str, list[Arrived]] = {}
    for packet in container.demux():
        if packet.dts is None or packet.pts is None:
            continue
        kind = packet.stream.type
        times = [round(at * packet.time_base * 1000) for at in (packet.dts, packet.pts)]
        digest = hashlib.sha256(bytes(packet)).hexdigest()
        found.setdefault(kind, []).append(Arrived(kind, times[0], times[1], packet.is_keyframe, digest))
    return found


def packets_of(path: Path) -> dict[str, list[Arrived]]:
    """Demux a file."""
    with av.open(str(path)) as container:
        return packets(container)


def tags_of(path: Path) -> list[tuple[int, int, bytes]]:
    """Return (kind, timestamp, body) of the audio, video and script tags of an FLV file, as they would be published."""
    return [
        (kind, at, METADATA_HEAD + body if kind == DATA_AMF0 else body)
        for kind, at, body in read_flv(path.read_bytes())
    ]


def send_tags(client: RtmpClient, tags: list[tuple[int, int, bytes]]) -> None:
    """Publish tags."""
    client.send(set_chunk_size(65536))
    for kind, at, body in tags:
        client.send(chunked(kind, at & 0xFFFFFFFF, body, size=65536))


class Demuxed:
    """A consumer that demuxes every run with PyAV."""

    def __init__(self) -> None:
        self.runs: dict[str, list[dict[str, list[Arrived]]]] = {}

    def __call__(self, stream: Stream) -> None:
        runs = self.runs.setdefault(stream.key, [])
        file = FlvFile(stream.publication)
        while True:
            with av.open(file, format="flv", buffer_size=131072, options=dict(file.options)) as container:
                runs.append(packets(container))
            if not file.next_run():
                return
