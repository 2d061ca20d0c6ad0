"""The stream that benches publish: 1080p30 at a constant 5 Mbps with AAC, of any length, and its packets."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av

from shared.rtmp.flv import tag
from tests.bench.common import QUIET
from tests.support.rtmp_client import read_flv

AUDIO, VIDEO = 8, 9
RATE = 30
FRAMES, SOUNDS = 480, 750  # 16 s of 30 fps and of AAC's 1024 samples at 48 kHz: both whole, so that loops are seamless
LOOP_MS = 16_000
GOP = 60
Tag = tuple[int, int, bytes]


class Stream(NamedTuple):
    """A stream as FLV: what is sent once, and the tags of 16 s that are repeated."""

    header: bytes
    first: tuple[Tag, ...]
    loop: tuple[Tag, ...]


def make_stream(folder: Path) -> Stream:
    """Encode 16 s with GOPs of 2 s and B-frames."""
    path = folder / "loop.flv"
    picture = f"testsrc2=size=1920x1080:rate={RATE},noise=alls=12:allf=t"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=r=48000:beep_factor=4"]
    rate = ["-b:v", "5M", "-minrate", "5M", "-maxrate", "5M", "-bufsize", "5M"]
    gops = ["-g", str(GOP), "-keyint_min", str(GOP), "-sc_threshold", "0", "-bf", "2"]
    video = ["-c:v", "libx264", "-preset", "superfast", "-pix_fmt", "yuv420p", *rate, *gops, "-frames:v", str(FRAMES)]
    audio = ["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-frames:a", str(SOUNDS)]
    subprocess.run([*QUIET, *inputs, *video, *audio, str(path)], check=True)
    data = path.read_bytes()
    tags = [tag for tag in read_flv(data) if tag[0] in (AUDIO, VIDEO)]
    once = [tag for tag in tags if tag[2][1] == 0]
    packets = [tag for tag in tags if tag[2][1] == 1]
    loop = [*_some(packets, VIDEO, FRAMES), *_some(packets, AUDIO, SOUNDS)]
    return Stream(data[:13], tuple(once), tuple(sorted(loop, key=lambda tag: tag[1])))


def _some(tags: Sequence[Tag], kind: int, count: int) -> list[Tag]:
    found = [tag for tag in tags if tag[0] == kind][:count]
    assert len(found) == count, f"encoder gave {len(found)} packets of {count}"
    return found


def flv(stream: Stream, seconds: int) -> Iterator[bytes]:
    """Give the FLV bytes of so many seconds, 16 s at a time."""
    yield stream.header + b"".join(tag(*each) for each in stream.first)
    for start in range(0, seconds * 1000, LOOP_MS):
        yield b"".join(tag(kind, at + start, body) for kind, at, body in stream.loop if at + start < seconds * 1000)


def write_flv(stream: Stream, seconds: int, path: Path) -> Path:
    """Write `seconds` of the stream to a file."""
    with path.open("wb") as file:
        for piece in flv(stream, seconds):
            file.write(piece)
    return path


class Packets(NamedTuple):
    """Hashes of a stream's packets in decode order."""

    video: list[bytes]
    audio: list[bytes]


def packets(stream: Stream, seconds: int) -> Packets:
    """Return the packets of `seconds` of the stream."""
    kinds = {VIDEO: [], AUDIO: []}  # type: dict[int, list[bytes]]
    loop = [(kind, at, _digest(kind, body[5 if kind == VIDEO else 2 :])) for kind, at, body in stream.loop]
    for start in range(0, seconds * 1000, LOOP_MS):
        for kind, at, digest in loop:
            if at + start < seconds * 1000:
                kinds[kind].append(digest)
    return Packets(kinds[VIDEO], kinds[AUDIO])


def recorded(parts: Sequence[Path]) -> Packets:
    """Read the packets of an init segment and its segments, or of an FLV file, by ffmpeg's demuxer."""
    found = Packets([], [])
    form = "flv" if parts[0].suffix == ".flv" else "mp4"
    with av.open(_Joined(parts), "r", format=form) as container:
        for packet in container.demux():
            if packet.size:
                is_video = packet.stream.type == "video"
                (found.video if is_video else found.audio).append(_digest(VIDEO if is_video else AUDIO, bytes(packet)))
    return found


def _digest(kind: int, payload: bytes) -> bytes:
    """Hash a packet: of video only its slices, since parameter sets and delimiters depend on the container."""
    digest = hashlib.blake2b(digest_size=12)
    if kind == AUDIO:
        digest.update(payload)
        return digest.digest()
    at = 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        if 1 <= payload[at + 4] & 0x1F <= 5:
            digest.update(payload[at : at + 4 + size])
        at += 4 + size
    return digest.digest()


class _Joined:
    """Files one after the other, readable as one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._left = list(parts)
        self._data = b""

    def read(self, size: int) -> bytes:
        if not self._data and self._left:
            self._data = self._left.pop(0).read_bytes()
        piece, self._data = self._data[:size], self._data[size:]
        return piece


class Loss(NamedTuple):
    """How recorded packets differ from those sent: gaps before and between them, unknown ones, and the missing end."""

    kept: int
    lost: int
    strange: int
    tail: int


def compare(sent: Packets, got: Packets) -> Loss:
    """Compare what was recorded with what was sent."""
    video, audio = _compare(sent.video, got.video), _compare(sent.audio, got.audio)
    return Loss(*(a + b for a, b in zip(video, audio, strict=True)))


def _compare(sent: list[bytes], got: list[bytes]) -> Loss:
    at = lost = strange = 0
    for digest in got:
        if at < len(sent) and sent[at] == digest:
            at += 1
            continue
        try:
            found = sent.index(digest, at)
        except ValueError:
            strange += 1
            continue
        lost += found - at
        at = found + 1
    return Loss(len(got), lost, strange, len(sent) - at)
