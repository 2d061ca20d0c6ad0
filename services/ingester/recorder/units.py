"""Splitting a byte stream with start codes into access units, independent of packet boundaries.

Sources: ITU-T H.264 (7.4.1.2.3, 7.4.1.2.4, annex B), ITU-T H.265 (7.4.2.4.4, annex B), ISO/IEC 13818-1 (2.4.3.7: time
stamps belong to the first access unit that starts in a PES packet).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from services.ingester.recorder.pictures import (
    H264_IDR,
    H264_SEI,
    HEVC_IRAP,
    HEVC_SEI,
    ParameterSets,
    has_recovery_point,
)
from services.ingester.recorder.slices import HEAD, Slice, SliceReader
from shared.media.bitstream.params import set_types
from shared.media.mp4.boxes import Mp4Error
from shared.media.tracks import TrackConfig, VideoCodec

START = b"\0\0\1"
_start = re.compile(START).search
"""Searches coded pictures twice as fast as bytes.find."""
MAX_UNITS = 4096
MAX_BYTES = 16 << 20
# A NAL unit's role: it starts an access unit after a picture, or it is a slice, or neither; the other bits: its kind.
OTHER, OPENS, SLICE, CLEAN, SET, SEI = 0, 1, 2, 4, 8, 16
# A slice's relation to the current unit: in it, of the next unit, of the next unit whose first slice is missing.
SAME, NEXT, TORN = 0, 1, 2
_H264_AUD = 9


def _roles(codec: VideoCodec) -> bytes:
    """Return NAL units' roles, indexed by their first byte."""
    hevc = codec == "hevc"
    slices, clean, sei = (range(32), HEVC_IRAP, HEVC_SEI) if hevc else ((1, 2, 5), (H264_IDR,), H264_SEI)
    opens = (32, 33, 34, 35, 39, *range(41, 45), *range(48, 56)) if hevc else (6, 7, 8, 9, 15, 16, 17, 18)
    roles = [
        SLICE * (kind in slices) | CLEAN * (kind in clean) | OPENS * (kind in opens)
        | SET * (kind in set_types(codec)) | SEI * (kind == sei)
        for kind in range(64)
    ]  # fmt: skip
    return bytes(roles[byte >> 1 & 0x3F if hevc else byte & 0x1F] for byte in range(256))


Stamp = tuple[int, int]
"""Presentation and decoding time, 90 kHz, 33 bits."""


class Unit(NamedTuple):
    """An access unit as MP4 stores it; `stamp` is None without one of its own; `head`: its first slice's header."""

    config: TrackConfig
    payload: bytes
    sync: bool
    clean: bool
    stamp: Stamp | None
    head: bytes


class AccessUnits:
    """Splits a byte stream into access units; a frame's two fields become one. `damaged` counts the dropped ones."""

    def __init__(self, codec: VideoCodec) -> None:
        self.damaged = 0
        self._slices = SliceReader(codec)
        self._hevc = codec == "hevc"
        self._roles = _roles(codec)
        self._sets = ParameterSets(codec)
        self._ready: list[Unit] = []
        self._open: list[bytes] = []  # the previous packet's last NAL unit, from `_open_at`: it may continue
        self._open_at = self._open_size = 0
        self._stamp: Stamp | None = None  # of the previous packet, or the one in which the open NAL unit started
        self._tail: tuple[Stamp | None, ...] = ()  # of the previous packet, where the open NAL unit started earlier
        self._next: Stamp | None = None  # of the current packet, from `_edge` on
        self._edge = 0
        self._leading = False
        self._spread = False  # units have continued across packets
        self._half: tuple[Unit, Slice] | None = None  # a field that waits for the frame's second field
        self._reset()

    def _reset(self) -> None:
        """Reset to the state outside any unit."""
        self._inside = self._clean = self._recovers = self._bad = False
        self._own: Stamp | None = None
        self._pieces: list[bytes | memoryview] = []
        self._found: list[bytes] = []
        self._size = 0
        self._head = self._last = b""

    def take(self, data: bytes, at: int, stamp: Stamp | None) -> list[Unit]:
        """Take a PES packet's payload, from `at` on; return the units that have ended.

        The end of the last one in it is known only from what follows.
        """
        first = data.find(START, at)
        self._leading = not self._goes_on(data, at, first)
        edge = at
        if not self._leading:
            self._spread = True
            if first < 0 and START not in self._open[-1][-2:] + data[at : at + 2]:
                self._keep(data[at:])
                self._tail = (stamp,)
                return self._given()
            head = b"".join(self._open)
            data, edge = head + data[at:], len(head)
            first = data.find(START, self._open_at)
            self._open.clear()
            self._nal(data, self._open_at, first)
        elif self._open:
            # A unit whose start code begins in the previous packet belongs there; elsewhere a zero is only padding.
            edge += self._spread and first == at and self._open[-1].endswith(b"\0")
            self._close()
        if self._tail:  # a unit that starts at the very end of the previous packet has that packet's stamp
            self._stamp, self._tail = self._tail[0], ()
        self._next, self._edge = stamp, edge
        if first >= 0:
            self._scan(data, first + 3)
        self._stamp, self._next, self._edge = self._next, None, MAX_BYTES << 1
        return self._given()

    def announce(self, data: bytes, at: int) -> list[Unit]:
        """Handle the start of a packet that has not ended yet: it may end the current unit."""
        first = data.find(START, at, at + 4)
        nal = first + 3
        if first < 0 or not self._open or nal + 3 > len(data) or (first == at and self._open[-1].endswith(b"\0")):
            return []
        self._close()
        role = self._role(data, nal, len(data))
        if self._last and (role & OPENS or (role & SLICE and self._compare(data, nal, packet=False) == NEXT)):
            self._end()
        return self._given()

    def lost(self, *, torn: bool, counted: bool) -> list[Unit]:
        """Handle missing bytes in (`torn`) or after the packet just taken.

        An incomplete unit is dropped; it is counted as damaged unless the loss is already `counted`.
        """
        if torn or (self._spread and (self._inside or self._open)):
            self.damaged += not counted
        else:
            self._close()
            self._end()
        self._open.clear()
        self._stamp, self._tail = None, ()
        self._reset()
        return self._unpair()

    def finish(self) -> list[Unit]:
        """Return the last units at the end of the stream."""
        self._close()
        self._end()
        return self._unpair()

    def order(self, unit: Unit) -> tuple[Slice | None, int]:
        """Return a unit's slice header, and the width of its picture order count in bits (0: it has none)."""
        head = self._slices.read(unit.head)
        return head, self._slices.poc_bits(head) if head else 0

    def _given(self) -> list[Unit]:
        ready, self._ready = self._ready, []
        return ready

    def _goes_on(self, data: bytes, at: int, first: int) -> bool:
        """Return whether a packet starts within the open NAL unit; `first`: its first start code."""
        return bool(self._open) and first != at and (first < 0 or any(data[at:first]))

    def _keep(self, data: bytes) -> None:
        """Append data to the open NAL unit."""
        self._open.append(data)
        self._open_size += len(data)
        if self._open_size + self._size > MAX_BYTES:
            self._open.clear()
            self.damaged += 1
            self._reset()

    def _close(self) -> None:
        """Take the open NAL unit: it does not continue."""
        if not self._open:
            return
        data = self._open[0] if len(self._open) == 1 else b"".join(self._open)
        self._open.clear()
        self._nal(data, self._open_at, len(data))

    def _scan(self, data: bytes, at: int) -> None:
        """Take the NAL units that end in `data`; the last one, which starts at `at` or later, stays open."""
        while (found := _start(data, at)) is not None:
            following = found.start()
            self._nal(data, at, following)
            at = following + 3
        self._open.append(data)
        self._open_at, self._open_size = at, len(data) - at

    def _role(self, data: bytes, at: int, stop: int) -> int:
        """Return a NAL unit's role; one that is cut short, or of another layer, starts no access unit."""
        role = self._roles[data[at]]
        if self._hevc and (stop - at < 2 or data[at] & 1 or data[at + 1] & 0xF8):
            return role & (SET | SEI)
        return role if stop - at > 2 or not role & SLICE else OTHER

    def _nal(self, data: bytes, at: int, stop: int) -> None:
        """Take a NAL unit that ends at `stop`, without its trailing zeros."""
        while stop > at and not data[stop - 1]:
            stop -= 1
        if stop <= at:
            return
        role = self._role(data, at, stop)
        if role & (OPENS | SLICE) and (not self._inside or self._last) and self._begins(role, data, at):
            if self._inside:
                self._end()
            self._inside = True
            if at - 3 < self._edge:
                self._own, self._stamp = self._stamp, None
            else:
                self._own, self._next, self._stamp = self._next, None, None
        elif self._leading:
            self._spread = True
        self._leading = False
        if self._inside:
            self._add(role, data, at, stop)

    def _add(self, role: int, data: bytes, at: int, stop: int) -> None:
        """Add a NAL unit to the current access unit."""
        if role & SET:
            self._found.append(data[at:stop])
            return
        if role & SLICE:
            self._last = data[at : at + HEAD]
            if not self._head:
                self._clean = bool(role & CLEAN)
                self._head = self._last
        elif role & SEI and not self._recovers:
            self._recovers = has_recovery_point(self._sets.codec, data[at:stop])
        size = stop - at
        self._size += size
        self._pieces += (size.to_bytes(4, "big"), memoryview(data)[at:stop])

    def _begins(self, role: int, data: bytes, at: int) -> bool:
        """Return whether a NAL unit, outside a unit or after a picture, starts an access unit."""
        if role & OPENS:
            return True
        if not self._inside:
            return bool(data[at + 2 if self._hevc else at + 1] & 0x80)  # the first slice of a picture
        found = self._compare(data, at, packet=self._leading)
        if found == TORN:
            self.damaged += 1
            self._end()
        return found == NEXT

    def _compare(self, data: bytes, at: int, *, packet: bool) -> int:
        """Return a slice's relation to the current unit; within a packet only a picture's first slice is read."""
        if self._hevc:
            return NEXT if data[at + 2] & 0x80 else SAME
        first = bool(data[at + 1] & 0x80)
        if not first and not packet:
            return SAME
        self._adopt()
        last, this = self._slices.read(self._last), self._slices.read(data[at : at + HEAD])
        if last is None or this is None:
            return NEXT if first else SAME
        if first:
            return SAME if this.redundant else NEXT
        return SAME if this.shares_picture(last) else TORN

    def _adopt(self) -> None:
        """Take the parameter sets found in the current unit."""
        if self._found:
            found, self._found = self._found, []
            try:
                self._sets.update(found)
            except Mp4Error:
                self._bad = True
            self._slices.learn(self._sets.known)

    def _end(self) -> None:
        """End the current unit, if any; one without a picture only carries parameter sets."""
        self._adopt()
        config = self._sets.config
        if self._bad or len(self._pieces) > 2 * MAX_UNITS or self._size > MAX_BYTES:
            self.damaged += 1
        elif self._last and config is not None:
            sync = self._clean or self._recovers
            unit = Unit(config, b"".join(self._pieces), sync, self._clean, self._own, self._head)
            if self._slices.has_fields:
                self._pair(unit)
            else:
                self._ready.append(unit)
        self._reset()

    def _pair(self, unit: Unit) -> None:
        """Append a frame's second field to its first: the two access units are one picture."""
        head = self._slices.read(unit.head)
        half, self._half = self._half, None
        if half is not None and head is not None and head.shares_frame(half[1]):
            first, more = half[0], unit.payload
            if more[4] & 0x1F == _H264_AUD:
                more = more[4 + int.from_bytes(more[:4], "big") :]
            self._ready.append(first._replace(payload=first.payload + more))
            return
        if half is not None:
            self._ready.append(half[0])
        if head is not None and head.parity:
            self._half = unit, head
        else:
            self._ready.append(unit)

    def _unpair(self) -> list[Unit]:
        """Return the ready units, and the field that waited for a second one."""
        if self._half is not None:
            self._ready.append(self._half[0])
            self._half = None
        return self._given()
