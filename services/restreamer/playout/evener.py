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
        dts, reach = packet.dts + self.shift, self._reach
        if reach is not None:
            last = self._last.get(packet.kind, dts)
            if dts > reach + LONGEST_HOLE or dts < last - BACKWARD:
                self.shift += max(reach, last) - dts
                dts = packet.dts + self.shift
        self._last[packet.kind] = dts
        length = packet.duration
        end = dts + (length if 0 <= length <= LONGEST_STILL else min(max(length, 0), LONGEST_STILL))
        self._reach = end if reach is None or end > reach else reach
        return packet.later(self.shift) if self.shift else packet
