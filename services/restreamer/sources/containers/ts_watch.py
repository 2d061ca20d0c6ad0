"""Find where the codecs of an MPEG-TS change, or move to other PIDs, by its tables.

Source: ISO/IEC 13818-1, 2.4.3.2 (packets), 2.4.4.3 (PAT), 2.4.4.8 (PMT), table 2-34 (stream types).
"""

from __future__ import annotations

import re
from typing import Final

from services.restreamer.sources.containers.sniff import TS_PACKET
from shared.media.crc import crc32

_SYNC: Final = 0x47
_PAT, _PMT = 0, 2
_PRIVATE: Final = 6
_VIDEO: Final = frozenset((0x01, 0x02, 0x10, 0x1B, 0x24, 0x33, 0x42, 0xD1, 0xEA))
_AUDIO: Final = frozenset((0x03, 0x04, 0x0F, 0x11, 0x1C, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87))
Streams = dict[str, tuple[int, int, bytes]]


class TsFinder:
    """Checks the tables of the first program; the tables found go before the data after a change."""

    def __init__(self, head: bytes) -> None:
        self.doubt: int | None = None
        self.changed = ""
        self._stride, self._start = _packets(head)
        self._pmt: int | None = None
        self._begins = _begins(0)
        self._tables = b""
        self._streams: Streams = {}
        self._next = self._start

    def head(self) -> bytes:
        """Return the packet of the PAT, which names the program's PMT."""
        return self._tables

    def look(self, data: bytes | bytearray, base: int) -> int:
        """Check the packets of tables, once each, and skip all others."""
        stride = self._stride
        if not stride:
            return base + len(data)
        begin = self._next - base if self._next >= base else (self._next - base) % stride
        count = max(len(data) - begin, 0) // stride
        syncs, firsts, seconds = (bytes(data[begin + n : begin + count * stride : stride]) for n in range(3))
        number = 0
        while not self.changed and (number := self._find(syncs, firsts, seconds, number)) < count:
            at = begin + number * stride
            self._take(bytes(data[at : at + TS_PACKET]), base + at)
            number += 1
        self._next = max(base + begin + count * stride, self._next)
        return self._next if self.doubt is None else self.doubt

    def skip(self, to: int, *, known: bool = False) -> None:  # noqa: ARG002  the signature of all finders
        """Continue with the first packet at or after an offset."""
        if self._stride:
            self._next = to + (self._start - to) % self._stride

    def _find(self, syncs: bytes, firsts: bytes, seconds: bytes, number: int) -> int:
        """Return the next packet in which a table starts, by the first three bytes of all packets."""
        for found in self._begins.finditer(firsts, number):
            number = found.start()
            pid = (firsts[number] & 0x1F) << 8 | seconds[number]
            if pid in (0, self._pmt) and syncs[number] == _SYNC:
                return number
        return len(firsts)

    def _take(self, packet: bytes, at: int) -> None:
        section = _section(packet)
        if section is None:
            return
        if section[0] == _PAT and packet[1] & 0x1F == 0 and packet[2] == 0:
            programs = [section[n : n + 4] for n in range(8, len(section) - 4, 4)]
            first = next((p for p in programs if p[:2] != b"\0\0"), None)
            if first is not None:
                self._pmt, self._tables = int.from_bytes(first[2:], "big") & 0x1FFF, packet
                self._begins = _begins(0, self._pmt)
        elif section[0] == _PMT:
            streams = _streams(section)
            other = [name for name, stream in streams.items() if self._streams.get(name, stream) != stream]
            if other:
                self.doubt, self.changed = at, "video" if "video" in other else "audio"
            else:  # a new stream, which FFmpeg finds if it comes soon, or one that pauses
                self._streams.update(streams)


def _begins(*pids: int) -> re.Pattern[bytes]:
    """Return a pattern of the second byte of packets in which a section of these PIDs may start."""
    return re.compile(b"[" + b"".join(re.escape(bytes((0x40 | pid >> 8,))) for pid in pids) + b"]")


def _packets(head: bytes) -> tuple[int, int]:
    """Return the distance of packets, and the offset of the first; 0, 0 when there are none."""
    for stride in (TS_PACKET, TS_PACKET + 4):
        for start in range(min(stride, len(head))):
            starts = range(start, len(head), stride)
            if len(starts) >= 3 and all(head[at] == _SYNC for at in starts[:8]):
                return stride, start
    return 0, 0


def _section(packet: bytes) -> bytes | None:
    """Return a table's section that fits into one packet; None for a longer or broken one."""
    at = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if at >= TS_PACKET or not packet[3] & 0x10:
        return None
    at += 1 + packet[at]
    size = 3 + (int.from_bytes(packet[at + 1 : at + 3], "big") & 0xFFF)
    section = packet[at : at + size]
    if len(section) < size or size < 12 or not section[5] & 1:
        return None
    return section if crc32(section) == 0 else None


def _streams(section: bytes) -> Streams:
    """Return a program's first video and first audio: PID, type, and for private streams the codec."""
    at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
    found: Streams = {}
    while at + 5 <= len(section) - 4:
        kind, pid = section[at], int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
        size = int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF
        descriptors = section[at + 5 : at + 5 + size]
        at += 5 + size
        name = "video" if kind in _VIDEO else "audio" if kind in _AUDIO else ""
        if kind == _PRIVATE and (codec := _private(descriptors)):
            found.setdefault("audio", (pid, kind, codec))
        elif name:
            found.setdefault(name, (pid, kind, b""))
    return found


def _private(descriptors: bytes) -> bytes:
    """Return an identifier of the audio in a private stream (Opus, AC-3, E-AC-3); empty for anything else."""
    at = 0
    while at + 2 <= len(descriptors):
        tag, size = descriptors[at], descriptors[at + 1]
        if tag in (0x6A, 0x7A):
            return bytes((tag,))
        if tag == 0x05 and descriptors[at + 2 : at + 6] in (b"Opus", b"AC-3", b"EAC3"):
            return descriptors[at + 2 : at + 6]
        at += 2 + size
    return b""
