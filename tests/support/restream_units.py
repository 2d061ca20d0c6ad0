"""Units as playout makes them, read from a file with PyAV."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from services.restreamer.model import FLICKS, Track, Unit
from services.restreamer.targets import Targets
from services.restreamer.targets.rtmp.pack import CHUNK_SIZE
from services.restreamer.targets.terms import Block
from shared.media.bitstream.params import split_annexb
from shared.rtmp.amf import encode
from shared.rtmp.chunks import SET_CHUNK_SIZE, ChunkLimits, ChunkParser, Message, write_message
from shared.rtmp.flv import SCRIPT, file_header, tag
from shared.runtime.clock import SystemClock

_SET_DATA_FRAME = encode("@setDataFrame")
MS = FLICKS // 1000
AVC = Track("video", "h264", b"\x01\x42\x00\x1e\xff\xe1\x00\x02\x67\x42\x01\x00\x02\x68\xce", 320, 180)
AAC = Track("audio", "aac", b"\x11\x90", sample_rate=48000, channels=2)


def picture(at_ms: int, *, key: bool = False, size: int = 100, shown_ms: int | None = None) -> Unit:
    data = (size - 4).to_bytes(4, "big") + bytes(index * 7 % 251 for index in range(size - 4))
    shown = at_ms if shown_ms is None else shown_ms
    return Unit("video", at_ms * MS, shown * MS, 40 * MS, key, data, AVC if key else None)


def sound(at_ms: int, *, track: Track | None = None) -> Unit:
    return Unit("audio", at_ms * MS, at_ms * MS, 20 * MS, key=True, data=b"\x21" * 50, track=track)


def _track(stream: av.VideoStream | av.AudioStream) -> Track:
    context = stream.codec_context
    codec = {"mp3float": "mp3", "libdav1d": "av1", "libvpx-vp9": "vp9"}.get(context.name, context.name)
    config = bytes(context.extradata or b"")
    if isinstance(stream, av.VideoStream):
        rate = stream.average_rate
        size = (stream.codec_context.width, stream.codec_context.height)
        return Track("video", codec, config, *size, "yuv420p", Fraction(rate) if rate else None)
    return Track(
        "audio", codec, config, sample_rate=stream.codec_context.sample_rate, channels=stream.codec_context.channels
    )


def _sample(packet: av.Packet) -> bytes:
    data = bytes(packet)
    if packet.stream.codec_context.name in ("h264", "hevc") and data[:4] == b"\0\0\0\1":
        return b"".join(len(nal).to_bytes(4, "big") + nal for nal in split_annexb(data))
    return data


def units_of(path: Path, *, start: int = 0, loops: int = 1) -> Iterator[Unit]:
    """Yield a file's packets as units in order of decode time, from `start` flicks on, `loops` times without a gap."""
    for _ in range(loops):
        end = start
        for unit in _once(path, start):
            end = max(end, unit.dts + unit.duration)
            yield unit
        start = end


def _once(path: Path, start: int) -> Iterator[Unit]:
    units = []
    with av.open(str(path)) as container:
        streams = [*container.streams.video, *container.streams.audio]
        fresh = {stream.index: _track(stream) for stream in streams}
        for packet in container.demux(streams):
            if packet.dts is not None and packet.size:
                dts, pts, duration = (round(t * packet.time_base * FLICKS) for t in _times(packet))
                track = fresh.pop(packet.stream_index, None)
                units.append(Unit(packet.stream.type, dts, pts, duration, packet.is_keyframe, _sample(packet), track))
    zero = min(unit.dts for unit in units)
    for unit in sorted(units, key=lambda unit: unit.dts):
        yield replace(unit, dts=unit.dts - zero + start, pts=unit.pts - zero + start)


def _times(packet: av.Packet) -> tuple[int, int, int]:
    return packet.dts, packet.pts, packet.duration


def play(targets: Targets, units: Iterable[Unit], *, speed: int = 1) -> None:
    """Feed units at their times, `speed` times as fast as real time."""
    clock = SystemClock()
    began_ns = clock.monotonic_ns()
    for unit in units:
        due_ns = began_ns + unit.dts * 625 // 441 // speed
        targets.tick()
        while clock.monotonic_ns() < due_ns:
            time.sleep(0.002)
            targets.tick()
        targets.feed([unit])


def flv_of(blocks: Iterable[Block]) -> bytes:
    """Read RTMP blocks as a server does, and return their messages as FLV."""
    out = [file_header(video=True, audio=True)]
    for message in messages_of(blocks):
        script = message.kind == SCRIPT
        body = bytes(message.payload)[len(_SET_DATA_FRAME) if script else 0 :]
        out.append(tag(message.kind, 0 if script else message.timestamp, body))
    return b"".join(out)


def messages_of(blocks: Iterable[Block]) -> list[Message]:
    """Read RTMP blocks as a server does."""
    size = write_message(2, SET_CHUNK_SIZE, 0, CHUNK_SIZE.to_bytes(4, "big"), chunk_size=128)
    data = memoryview(size + b"".join(block.data for block in blocks))
    parser = ChunkParser(ChunkLimits(message=1 << 24, unfinished=1 << 25, streams=8))
    found: list[Message] = []
    while data:
        room = parser.room()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        data = data[count:]
        found += [message._replace(payload=bytearray(message.payload)) for message in parser.parse(count)]
    return found[1:]
