"""The output's sound: packets without a gap, as close to the pictures as whole packets allow (ADR 14)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.restreamer.model import Track, Unit
from shared.media.transcode.sound_packets import Silence


@dataclass(slots=True)
class SoundQueue:
    """Sound units in order; `end` is where the next one begins. Each begins exactly where the one before ends."""

    end: int
    units: deque[Unit] = field(default_factory=deque)
    track: Track | None = None
    _announce: bool = True

    def join(self, track: Track) -> None:
        """Announce `track` with the next unit, so that decoders are configured anew."""
        self.track, self._announce = track, True

    def append(self, data: bytes, duration: int) -> None:
        """Append a packet after the last one."""
        track = self.track if self._announce else None
        self._announce = False
        self.units.append(Unit("audio", self.end, self.end, duration, key=True, data=data, track=track))
        self.end += duration

    def lay(self, at: int, data: bytes, duration: int, silence: Silence | None) -> None:
        """Add a packet for time `at`: drop it if it overlaps by more than half, fill a gap before it with silence."""
        if at < self.end - duration // 2:
            return
        if at > self.end + duration:
            self.fill(at, silence)
        self.append(data, duration)

    def fill(self, until: int, silence: Silence | None) -> None:
        """Add as many silent packets as fit before `until`; leave a gap if there is no such packet."""
        if silence is None:
            self.end = max(self.end, until)
            return
        while self.end + silence.duration <= until:
            self.append(silence.data, silence.duration)

    def trim(self, until: int) -> None:
        """Remove waiting packets that lie after `until` by more than half."""
        while self.units and self.units[-1].pts + self.units[-1].duration // 2 > until:
            last = self.units.pop()
            self.end = last.pts
            self._announce = self._announce or last.track is not None

    def reset(self, end: int, kept: Iterable[Unit]) -> None:
        """Go back to `end`, with `kept` units still to be sent before it."""
        self.end, self._announce = end, True
        self.units = deque(kept)
