"""Jumps in a file's own times: encoders restart, sessions have holes. What follows a jump moves up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.restreamer.model import FLICKS, Packet

LONGEST_HOLE = 2 * FLICKS
BACKWARD = FLICKS // 2
LONGEST_DELAY = 10 * FLICKS
"""Of a picture's presentation behind its decoding; what is told beyond it is an error of the file."""
LONGEST_STILL = 600 * FLICKS
"""How long a picture stays on at most."""


@dataclass(slots=True)
class Evener:
    """Shifts packets after a jump, so that they follow what came before; `shift` is what was added last."""

    shift: int = 0
    _reach: int | None = None
    _last: dict[str, int] = field(default_factory=dict)

    def even(self, packet: Packet) -> Packet:
        """Give the packet with its times on the line without jumps."""
        if packet.pts - packet.dts > LONGEST_DELAY:
            packet = replace(packet, pts=packet.dts)
        dts = packet.dts + self.shift
        if self._reach is not None:
            last = self._last.get(packet.kind, dts)
            if dts > self._reach + LONGEST_HOLE or dts < last - BACKWARD:
                self.shift += max(self._reach, last) - dts
                dts = packet.dts + self.shift
        self._last[packet.kind] = dts
        self._reach = max(dts + min(max(packet.duration, 0), LONGEST_STILL), self._reach or 0)
        return packet.later(self.shift)
