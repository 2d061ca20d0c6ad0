"""Evens out jumps in a file's timestamps: encoders restart, sessions have gaps. What follows a jump is shifted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.restreamer.model import FLICKS, Packet

LONGEST_HOLE = 2 * FLICKS
BACKWARD = FLICKS // 2
LONGEST_DELAY = 10 * FLICKS
"""The longest time from a picture's decoding to its presentation; more is an error of the file."""
LONGEST_STILL = 600 * FLICKS
"""How long a picture stays on at most."""


@dataclass(slots=True)
class Evener:
    """Shifts packets after a jump, so that they follow what came before; `shift` is the current shift."""

    shift: int = 0
    _reach: int | None = None
    _last: dict[str, int] = field(default_factory=dict)

    def even(self, packet: Packet) -> Packet:
        """Return the packet with its times on the timeline without jumps."""
        dts, shift, reach, kind, lasts = packet.dts, self.shift, self._reach, packet.kind, self._last
        if packet.pts - dts > LONGEST_DELAY:
            packet = replace(packet, pts=dts)
        at = dts + shift
        if reach is not None:
            last = lasts.get(kind, at)
            still = last + LONGEST_STILL if kind == "video" else at
            if at > reach + LONGEST_HOLE or at < last - BACKWARD or at > still:
                goes_on = max(reach, last)  # sound may lie anywhere ahead
                shift = self.shift = shift + (min(goes_on, still) if kind == "video" else goes_on) - at
                at = dts + shift
        lasts[kind] = at
        length = packet.duration
        end = at + (length if 0 <= length <= LONGEST_STILL else min(max(length, 0), LONGEST_STILL))
        if reach is None or end > reach:
            self._reach = end
        return packet.later(shift) if shift else packet
