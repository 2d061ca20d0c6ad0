"""Audio on the sample grid: packets follow each other exactly, although their time stamps are rounded or jitter.

The grid's position follows from all packets' stamps: the middle of their differences from it, over the last seconds, is
its error, which is corrected sample by sample. This restores stamps rounded to milliseconds (RTMP) to within a sample,
and follows a sound card's drift.

A packet whose stamp is off by more than half a packet, and by more than the recent jitter, waits for the next one. When
that is off by the same amount, audio is missing or was sent twice: a hole stays a hole, overlapping audio is dropped.
When it is not, the stamp was an outlier, and the packet follows the previous one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from services.ingester.publication import VIDEO_SCALE

BLOCK = 32
BLOCKS = 8
"""The grid's error is measured over so many blocks of packets: about five seconds of AAC."""
SETTLED = 64
"""So many packets determine the grid's position; after them it moves only for drift."""
DRIFT_PER_S = 4000
"""An error of 1/DRIFT_PER_S of a second (0.25 ms) is drift."""
SNAP_PER_S = 500
"""A hole within 1/SNAP_PER_S of a second (2 ms) of a whole number of packets is that many lost packets."""


class Packet(NamedTuple):
    """An audio packet: its time stamp (90 kHz), its length in samples, its bytes."""

    stamp: int
    duration: int
    payload: bytes


class OnGrid(NamedTuple):
    """A packet with its position, in samples."""

    at: int
    packet: Packet


@dataclass(slots=True)
class _Block:
    low: int
    high: int
    count: int = 0


class SoundGrid:
    """Puts packets of one track of `rate` samples a second on the grid."""

    def __init__(self, rate: int) -> None:
        self.dropped = 0
        self._rate = rate
        self._drift = rate // DRIFT_PER_S
        self._next: int | None = None
        self._held: Packet | None = None
        self._blocks: deque[_Block] = deque(maxlen=BLOCKS)
        self._middle = self._spread = 0  # of the stamps' differences from the grid
        self._seen = 0
        self._overlaps = False

    def place(self, packet: Packet) -> tuple[OnGrid, ...]:
        """Return the packets whose position is settled: usually this one, none while its stamp is an outlier."""
        if self._next is None:
            self._next = self._due(packet)
        elif self._is_usual(packet):
            return (self._put(packet, self._next),)
        if self._overlaps:
            return self._after_overlap(packet)
        if self._held is None:
            if self._is_odd(packet, self._next):
                self._held = packet
                return ()
            return (self._follow(packet),)
        held, self._held = self._held, None
        off, after = self._due(held) - self._next, self._due(packet) - self._next - held.duration
        if not self._is_odd(packet, self._next + held.duration) or abs(after - off) > held.duration // 2:
            first = self._follow(held)  # its stamp was an outlier, whatever this one's is
            return (first, *self.place(packet))
        return (*self._move(held, off), *self.place(packet))

    def flush(self) -> tuple[OnGrid, ...]:
        """Return the waiting packet with its position, at the end of the audio."""
        held, self._held = self._held, None
        return () if held is None or self._next is None else (self._follow(held),)

    def _due(self, packet: Packet) -> int:
        return (packet.stamp * self._rate + VIDEO_SCALE // 2) // VIDEO_SCALE

    def _is_usual(self, packet: Packet) -> bool:
        """Return whether a packet's stamp changes nothing, the usual case once the grid has settled."""
        if self._held is not None or self._overlaps or not self._blocks or self._seen < 4 * SETTLED:
            return False
        block = self._blocks[-1]
        error = self._due(packet) - (self._next or 0)
        if not block.low <= error <= block.high or block.count >= BLOCK or abs(self._middle) > self._drift:
            return False
        block.count += 1
        self._seen += 1
        return True

    def _is_odd(self, packet: Packet, at: int) -> bool:
        return abs(self._due(packet) - at - self._middle) > max(packet.duration // 2, self._spread)

    def _move(self, packet: Packet, off: int) -> tuple[OnGrid, ...]:
        """Continue at another position: after a hole of `off` samples, or after dropping what was sent twice."""
        if off < 0:
            self._overlaps = True
            return self._after_overlap(packet)
        packets = round(off / packet.duration)
        if abs(off - packets * packet.duration) <= self._rate // SNAP_PER_S:
            return (self._put(packet, (self._next or 0) + packets * packet.duration),)
        return (self._anew(packet),)

    def _after_overlap(self, packet: Packet) -> tuple[OnGrid, ...]:
        """Drop packets until one starts at the current position."""
        if self._due(packet) < (self._next or 0) - self._rate // 1000:
            self.dropped += 1
            return ()
        self._overlaps = False
        return (self._anew(packet),)

    def _anew(self, packet: Packet) -> OnGrid:
        """Put a packet at its stamp: the sender's audio has restarted."""
        self._blocks.clear()
        self._middle = self._spread = self._seen = 0
        return self._put(packet, max(self._due(packet), self._next or 0))

    def _put(self, packet: Packet, at: int) -> OnGrid:
        self._next = at + packet.duration
        return OnGrid(at, packet)

    def _follow(self, packet: Packet) -> OnGrid:
        """Put a packet right after the last one, and correct some of the grid's error."""
        at = self._next or 0
        if not self._is_odd(packet, at):
            self._note(self._due(packet) - at)
        self._seen += 1
        settling = SETTLED // 4 <= self._seen < SETTLED * 4
        if abs(self._middle) > (1 if settling else self._drift):
            step = 1 if self._middle > 0 else -1
            at += step
            self._middle -= step
            for block in self._blocks:
                block.low, block.high = block.low - step, block.high - step
        return self._put(packet, at)

    def _note(self, error: int) -> None:
        """Record a stamp's difference from the grid."""
        if not self._blocks or self._blocks[-1].count >= BLOCK:
            self._blocks.append(_Block(error, error))
        block = self._blocks[-1]
        block.low, block.high, block.count = min(block.low, error), max(block.high, error), block.count + 1
        low, high = min(b.low for b in self._blocks), max(b.high for b in self._blocks)
        self._middle, self._spread = (low + high) // 2, high - low
