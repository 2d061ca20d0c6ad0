"""Packs units into MPEG-TS, the same bytes for all targets (ISO/IEC 13818-1, 2.4).

One program of a video and an audio track. The tables precede each keyframe, so that any target can start there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import cycle, islice
from typing import Final, NamedTuple

from services.restreamer.model import FLICKS, Track, Unit
from services.restreamer.targets.srt import frames
from services.restreamer.targets.terms import Block, Tracks
from shared.media.crc import crc32
from shared.srt.constants import LIVE_PAYLOAD

PACKET: Final = 188
_BODY: Final = PACKET - 4
_PAT_PID, _PMT_PID, _VIDEO_PID, _AUDIO_PID = 0, 0x1000, 0x100, 0x101
_FLICKS_A_TICK: Final = FLICKS // 90_000
_ZERO: Final = 90_000  # ticks: the start of time, so that no clock is below 0
_AHEAD: Final = 27_000  # ticks that a unit is sent before it is decoded
_CLOCK_EVERY: Final = FLICKS * 60 // 1000  # at most 100 ms (2.7.2)
_TABLES_EVERY: Final = FLICKS // 5
_STUFFING: Final = b"\xff" * PACKET
_PRIVATE: Final = 0x06
_TYPES: Final = {"h264": 0x1B, "hevc": 0x24, "aac": 0x0F, "mp3": 0x03, "opus": _PRIVATE}
_MPEG2_AUDIO: Final = 0x04  # MP3 at less than 32 kHz


class _Lane(NamedTuple):
    """How the units of one kind are written."""

    pid: int
    stream_id: int
    framer: frames.Framer


class TsPacker:
    """Packs for all SRT targets of a restream."""

    def __init__(self) -> None:
        self._counters = {_PAT_PID: 0, _PMT_PID: 0, _VIDEO_PID: 0, _AUDIO_PID: 0}
        self._heads = {pid: [_head(pid, count) for count in range(16)] for pid in self._counters}
        self._version = 0
        self._tables: tuple[tuple[int, bytes], ...] = ()
        self._lanes: dict[str, _Lane] = {}
        self._clocked = self._tabled = -FLICKS
        self._parts: list[bytes] = []

    def unfit(self, track: Track) -> str:
        """Return why MPEG-TS cannot carry a track; empty: it can."""
        return frames.unfit(track)

    def head(self, tracks: Tracks, at: int) -> Block:  # noqa: ARG002  the signature that all packers have
        """Write nothing: each keyframe comes with all that a target needs."""
        return Block(b"", 0, at)

    def configure(self, tracks: Tracks, fresh: Collection[str], at: int) -> Block:  # noqa: ARG002  as above
        """Use these tracks from now on; write the tables anew, with the next version."""
        pmt = bytearray()
        self._lanes.clear()
        for track, pid, stream_id in ((tracks.video, _VIDEO_PID, 0xE0), (tracks.audio, _AUDIO_PID, 0xC0)):
            if track is not None:
                own_id = 0xBD if track.codec == "opus" else stream_id
                self._lanes[track.kind] = _Lane(pid, own_id, frames.framer(track))
                pmt += _stream(track, pid)
        pat = _section(0, b"\0\1" + (0xE000 | _PMT_PID).to_bytes(2, "big"), self._version)
        clock = (0xE000 | _VIDEO_PID).to_bytes(2, "big") + b"\xf0\0"
        self._tables = ((_PAT_PID, pat), (_PMT_PID, _section(2, clock + bytes(pmt), self._version)))
        self._version = self._version + 1 & 0x1F
        self._write_tables(at)
        return self._block(0, at)

    def pack(self, units: Sequence[Unit]) -> Block:
        """Write units."""
        for unit in units:
            video = unit.kind == "video"
            if (video and unit.key) or unit.dts - self._tabled >= _TABLES_EVERY:
                self._write_tables(unit.dts)
            if not video and unit.dts - self._clocked >= _CLOCK_EVERY:
                self._write_clock(unit.dts)
            lane = self._lanes[unit.kind]
            payload = lane.framer(unit)
            head = _pes_head(lane.stream_id, unit, len(payload))
            self._write(lane.pid, head + payload, self._adaptation(unit) if video else b"")
        return self._block(len(units), units[0].dts)

    def _block(self, units: int, at: int) -> Block:
        data = b"".join(self._parts)
        self._parts.clear()
        pieces = tuple(data[begin : begin + LIVE_PAYLOAD] for begin in range(0, len(data), LIVE_PAYLOAD))
        return Block(data, units, at, pieces=pieces)

    def _next(self, pid: int) -> int:
        count = self._counters[pid]
        self._counters[pid] = count + 1 & 15
        return count

    def _write_tables(self, at: int) -> None:
        self._tabled = at
        for pid, section in self._tables:
            head = _head(pid, self._next(pid), start=True)
            self._parts += (head, b"\0", section, _STUFFING[: _BODY - 1 - len(section)])

    def _write_clock(self, at: int) -> None:
        """Write a packet with only a clock reference; the continuity counter stays (2.4.3.3)."""
        self._clocked = at
        count = self._counters[_VIDEO_PID] - 1 & 15
        field = b"\x10" + _clock(at)
        head = bytes((0x47, _VIDEO_PID >> 8, _VIDEO_PID & 0xFF, 0x20 | count, _BODY - 1))
        self._parts += (head, field, _STUFFING[: _BODY - 1 - len(field)])

    def _adaptation(self, unit: Unit) -> bytes:
        self._clocked = unit.dts
        return (b"\x50" if unit.key else b"\x10") + _clock(unit.dts)

    def _write(self, pid: int, pes: bytes, field: bytes) -> None:
        """Cut a PES packet into TS packets; the first carries the adaptation field, and one fills up the last."""
        parts, size = self._parts, len(pes)
        room = _BODY - (len(field) + 1 if field else 0)
        at = min(room, size)
        if field or size < room:
            parts += (_head(pid, self._next(pid), start=True, adapted=True), _filled(field, _BODY - at), pes[:at])
        else:
            parts += (_head(pid, self._next(pid), start=True), pes[:at])
        full = size - (size - at) % _BODY
        if full > at:
            count, packets = self._counters[pid], (full - at) // _BODY
            both: list[bytes] = [b""] * (2 * packets)
            both[0::2] = islice(cycle(self._heads[pid]), count, count + packets)
            both[1::2] = [pes[begin : begin + _BODY] for begin in range(at, full, _BODY)]
            parts += both
            self._counters[pid] = count + packets & 15
        if full < size:
            rest = size - full
            parts += (_head(pid, self._next(pid), adapted=True), _filled(b"", _BODY - rest), pes[full:])


def _head(pid: int, count: int, *, start: bool = False, adapted: bool = False) -> bytes:
    return bytes((0x47, start << 6 | pid >> 8, pid & 0xFF, (0x30 if adapted else 0x10) | count))


def _filled(field: bytes, size: int) -> bytes:
    """Write an adaptation field of `size` bytes, its length included."""
    if size == 1:
        return b"\0"
    field = field or b"\0"
    return bytes((size - 1,)) + field + _STUFFING[: size - 1 - len(field)]


def _ticks(flicks: int) -> int:
    return (flicks + _FLICKS_A_TICK // 2) // _FLICKS_A_TICK + _ZERO & 0x1FFFFFFFF


def _clock(at: int) -> bytes:
    """Write a program clock reference: 27 MHz, which is 15 in 392 flicks, as 33 bits of 90 kHz and 9 of the rest."""
    base, rest = divmod(at * 15 // 392 + (_ZERO - _AHEAD) * 300, 300)
    return ((base & 0x1FFFFFFFF) << 15 | 0x7E00 | rest).to_bytes(6, "big")


def _stamp(mark: int, ticks: int) -> bytes:
    high, middle, low = ticks >> 30, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
    return (mark << 36 | high << 33 | middle << 17 | low << 1 | 0x100010001).to_bytes(5, "big")


def _pes_head(stream_id: int, unit: Unit, size: int) -> bytes:
    pts, dts = _ticks(unit.pts), _ticks(unit.dts)
    times = _stamp(2, pts) if pts == dts else _stamp(3, pts) + _stamp(1, dts)
    length = 0 if unit.kind == "video" else size + 3 + len(times)  # 0: until the next one, for video alone
    flags = 0x80 if pts == dts else 0xC0
    return b"\0\0\1" + bytes((stream_id, length >> 8 & 0xFF, length & 0xFF, 0x80, flags, len(times))) + times


def _section(table: int, body: bytes, version: int) -> bytes:
    """Write a PAT (0) or PMT (2) of program or stream 1."""
    size = 5 + len(body) + 4
    section = bytes((table, 0xB0 | size >> 8, size & 0xFF, 0, 1, 0xC1 | version << 1, 0, 0)) + body
    return section + crc32(section).to_bytes(4, "big")


def _stream(track: Track, pid: int) -> bytes:
    kind, descriptors = _TYPES[track.codec], b""
    if track.codec == "mp3" and track.sample_rate < 32_000:
        kind = _MPEG2_AUDIO
    if track.codec == "opus":
        descriptors = b"\x05\x04Opus\x7f\x02\x80" + bytes((track.channels,))
    return bytes((kind, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, len(descriptors))) + descriptors
