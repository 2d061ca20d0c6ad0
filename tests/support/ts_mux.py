"""A multiplexer with a given layout of pictures in PES packets, like real ones that differ from FFmpeg's."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from shared.media.bitstream.params import record_sets
from shared.media.crc import crc32
from shared.media.mp4.entries import codec_record
from shared.media.tracks import VideoCodec
from tests.support import media_streams as media

MAP, VIDEO, AUDIO = 0x1000, 0x100, 0x101
TYPES = {"h264": 0x1B, "hevc": 0x24, "aac": 0x0F}
DELIMITER = {"h264": b"\x09\xf0", "hevc": b"\x46\x01\x50"}
LEAD = 126_000


class Coded(NamedTuple):
    """An access unit: its NAL units, and its times (90 kHz)."""

    nals: tuple[bytes, ...]
    pts: int
    dts: int

    @property
    def stream(self) -> bytes:
        return b"".join(b"\0\0\0\1" + nal for nal in self.nals)


class Pes(NamedTuple):
    """A PES packet's payload and timestamps (None: it has none)."""

    data: bytes
    pts: int | None = None
    dts: int | None = None


def coded(path: Path, codec: VideoCodec, *, delimiters: bool = True) -> list[Coded]:
    """Read an MP4's pictures, with parameter sets before keyframes."""
    demuxed = media.demux(path)
    sets = record_sets(codec, codec_record(demuxed.configs[0]))
    units = []
    for sample in demuxed.samples[1]:
        nals: list[bytes] = [DELIMITER[codec]] if delimiters else []
        nals += sets if sample.sync else []
        at = 0
        while at < len(sample.payload):
            size = int.from_bytes(sample.payload[at : at + 4], "big")
            nals.append(sample.payload[at + 4 : at + 4 + size])
            at += 4 + size
        units.append(Coded(tuple(nals), sample.pts + LEAD, sample.dts + LEAD))
    return units


def section(table: int, body: bytes) -> bytes:
    """Return a program table with its checksum."""
    whole = bytes((table, 0xB0 | (len(body) + 4) >> 8, (len(body) + 4) & 0xFF)) + body
    return whole + struct.pack(">I", crc32(whole))


def stamp(mark: int, time: int) -> bytes:
    time &= (1 << 33) - 1
    return bytes((mark << 4 | time >> 29 & 14 | 1, time >> 22 & 255, time >> 14 & 254 | 1, time >> 7 & 255,
                  time << 1 & 254 | 1))  # fmt: skip


@dataclass
class TsMux:
    """Collects TS packets of 188 bytes."""

    packets: list[bytes] = field(default_factory=list)
    _counters: dict[int, int] = field(default_factory=dict)

    def __bytes__(self) -> bytes:
        return b"".join(self.packets)

    def tables(self, streams: Sequence[tuple[int, int, bytes]]) -> None:
        """Write PAT and PMT of (stream_type, PID, descriptors)."""
        self.payload(0, b"\0" + section(0, b"\0\1\xc1\0\0\0\1" + struct.pack(">H", 0xE000 | MAP)))
        rows = b""
        for kind, pid, more in streams:
            rows += struct.pack(">BHH", kind, 0xE000 | pid, 0xF000 | len(more)) + more
        self.payload(MAP, b"\0" + section(2, b"\0\1\xc1\0\0\xe1\0\xf0\0" + rows))

    def pes(self, pid: int, pes: Pes, *, bounded: bool = False, kind: int = 0xE0) -> None:
        """Write a PES packet; `bounded`: it has its length."""
        head, flags = b"", 0
        if pes.pts is not None and pes.dts not in (None, pes.pts):
            head, flags = stamp(3, pes.pts) + stamp(1, pes.dts or 0), 0xC0
        elif pes.pts is not None:
            head, flags = stamp(2, pes.pts), 0x80
        size = 3 + len(head) + len(pes.data)
        start = b"\0\0\1" + bytes((kind,)) + struct.pack(">H", size if bounded and size < 1 << 16 else 0)
        self.payload(pid, start + bytes((0x80, flags, len(head))) + head + pes.data)

    def payload(self, pid: int, data: bytes) -> None:
        """Write a payload as TS packets, the last one stuffed."""
        first = 0x40
        while data or first:
            part, data = data[:184], data[184:]
            counter = self._counters[pid] = (self._counters.get(pid, -1) + 1) & 15
            room = 184 - len(part)
            stuffing = b"" if not room else bytes((room - 1,)) + (b"\0" + b"\xff" * (room - 2) if room > 1 else b"")
            head = bytes((0x47, first | pid >> 8, pid & 255, (0x30 if room else 0x10) | counter))
            self.packets.append(head + stuffing + part)
            first = 0


def mux(codec: VideoCodec, packets: Iterable[Pes], *, bounded: bool = False, audio: Iterable[Pes] = ()) -> TsMux:
    """Write a program of one video track, and AAC if there is any, in order of timestamps."""
    sound = list(audio)
    out = TsMux()
    streams = [(TYPES[codec], VIDEO, b"")] + ([(TYPES["aac"], AUDIO, b"")] if sound else [])
    out.tables(streams)
    last = 0
    for pes in packets:
        last = pes.pts or last
        while sound and (sound[0].pts or 0) <= last:
            out.pes(AUDIO, sound.pop(0), bounded=True, kind=0xC0)
        out.pes(VIDEO, pes, bounded=bounded)
    for pes in sound:
        out.pes(AUDIO, pes, bounded=True, kind=0xC0)
    return out
