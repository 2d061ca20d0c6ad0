"""Access units in a byte stream with start codes, wherever the packets that bring it begin and end.

Sources: ITU-T H.264 (7.4.1.2.3, 7.4.1.2.4, annex B), ITU-T H.265 (7.4.2.4.4, annex B), ISO/IEC 13818-1 (2.4.3.7: time
stamps are those of the first access unit that begins in a PES packet).
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
from shared.media.model import TrackConfig, VideoCodec
from shared.media.mp4.boxes import Mp4Error

START = b"\0\0\1"
_start = re.compile(START).search
"""Goes through coded pictures twice as fast as bytes.find."""
MAX_UNITS = 4096
MAX_BYTES = 16 << 20
# What a NAL unit is to access units: it opens one where a picture has come before, or is a slice, or neither; and what
# else it is.
OTHER, OPENS, SLICE, CLEAN, SET, SEI = 0, 1, 2, 4, 8, 16
# How a slice stands to the unit in hand: in it, of the next one, of the next one that lacks its first slice.
SAME, NEXT, TORN = 0, 1, 2
_H264_AUD = 9


def _roles(codec: VideoCodec) -> bytes:
    """List what NAL units are, by their first byte."""
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
    """An access unit as MP4 stores it; `stamp` None where its packet has told none of its own; `head`: its slice's."""

    config: TrackConfig
    payload: bytes
    sync: bool
    clean: bool
    stamp: Stamp | None
    head: bytes


class AccessUnits:
    """Cuts a byte stream into access units; both fields of a frame make one. `damaged` counts those dropped."""

    def __init__(self, codec: VideoCodec) -> None:
        self.damaged = 0
        self._slices = SliceReader(codec)
        self._hevc = codec == "hevc"
        self._roles = _roles(codec)
        self._sets = ParameterSets(codec)
        self._ready: list[Unit] = []
        self._open: list[bytes] = []  # the last NAL unit of the packet before, from `_open_at`: it may go on
        self._open_at = self._open_size = 0
        self._stamp: Stamp | None = None  # of the packet before, or the one in which the open NAL unit began
        self._tail: tuple[Stamp | None, ...] = ()  # of the packet before, where the open NAL unit began earlier
        self._next: Stamp | None = None  # of the packet in hand, from `_edge` on
        self._edge = 0
        self._leading = False
        self._spread = False  # units have run over packets' ends
        self._half: tuple[Unit, Slice] | None = None  # a field that waits for the frame's other one
        self._reset()

    def _reset(self) -> None:
        """Be outside of any unit."""
        self._inside = self._clean = self._recovers = self._bad = False
        self._own: Stamp | None = None
        self._pieces: list[bytes | memoryview] = []
        self._found: list[bytes] = []
        self._size = 0
        self._head = self._last = b""

    def take(self, data: bytes, at: int, stamp: Stamp | None) -> list[Unit]:
        """Take a PES packet's payload, from `at` on; give the units that are seen to have ended.

        The last one in it ends when what comes next shows it.
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
            # A unit whose start code begins in the packet before begins there too; elsewhere a zero only fills up.
            edge += self._spread and first == at and self._open[-1].endswith(b"\0")
            self._close()
        if self._tail:  # what begins at the very end of the packet before has its stamp
            self._stamp, self._tail = self._tail[0], ()
        self._next, self._edge = stamp, edge
        if first >= 0:
            self._scan(data, first + 3)
        self._stamp, self._next, self._edge = self._next, None, MAX_BYTES << 1
        return self._given()

    def announce(self, data: bytes, at: int) -> list[Unit]:
        """Hear how a packet begins whose rest is still to come: the unit in hand may end with that."""
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
        """Hear that bytes are missing in (`torn`) or behind the packet just taken.

        A unit that lacks some is dropped; it is counted as damaged unless the loss has been.
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
        """Return the last unit at the end of the stream."""
        self._close()
        self._end()
        return self._unpair()

    def order(self, unit: Unit) -> tuple[Slice | None, int]:
        """Read a unit's slice head, and how many bits its picture order count has (0: it tells nothing)."""
        head = self._slices.read(unit.head)
        return head, self._slices.poc_bits(head) if head else 0

    def _given(self) -> list[Unit]:
        ready, self._ready = self._ready, []
        return ready

    def _goes_on(self, data: bytes, at: int, first: int) -> bool:
        """Tell whether a packet begins within the NAL unit that is open; `first`: its first start code."""
        return bool(self._open) and first != at and (first < 0 or any(data[at:first]))

    def _keep(self, data: bytes) -> None:
        """Keep what belongs to the NAL unit that is open."""
        self._open.append(data)
        self._open_size += len(data)
        if self._open_size + self._size > MAX_BYTES:
            self._open.clear()
            self.damaged += 1
            self._reset()

    def _close(self) -> None:
        """Take the NAL unit that is open: it does not go on."""
        if not self._open:
            return
        data = self._open[0] if len(self._open) == 1 else b"".join(self._open)
        self._open.clear()
        self._nal(data, self._open_at, len(data))

    def _scan(self, data: bytes, at: int) -> None:
        """Take the NAL units that end in `data`; the last one, which begins at `at` or later, stays open."""
        while (found := _start(data, at)) is not None:
            following = found.start()
            self._nal(data, at, following)
            at = following + 3
        self._open.append(data)
        self._open_at, self._open_size = at, len(data) - at

    def _role(self, data: bytes, at: int, stop: int) -> int:
        """Tell what a NAL unit is to access units; one cut short, or of a further layer, opens none."""
        role = self._roles[data[at]]
        if self._hevc and (stop - at < 2 or data[at] & 1 or data[at + 1] & 0xF8):
            return role & (SET | SEI)
        return role if stop - at > 2 or not role & SLICE else OTHER

    def _nal(self, data: bytes, at: int, stop: int) -> None:
        """Take a NAL unit that ends before `stop`, but for zeros."""
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
        """Add a NAL unit to the unit in hand."""
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
        """Tell whether a unit begins with a NAL unit, outside of a unit or behind a picture."""
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
        """Tell how a slice stands to the unit in hand; within a packet only a picture's first one is looked at."""
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
        """Take the parameter sets found in the unit in hand."""
        if self._found:
            found, self._found = self._found, []
            try:
                self._sets.update(found)
            except Mp4Error:
                self._bad = True
            self._slices.learn(self._sets.known)

    def _end(self) -> None:
        """End the unit in hand, if any; one without a picture only brings parameter sets."""
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
        """Put a frame's second field behind its first: two access units are one picture."""
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
        """Return what is ready, and a field that waits no longer."""
        if self._half is not None:
            self._ready.append(self._half[0])
            self._half = None
        return self._given()
