"""The wall clock of media: the session's anchor plus media time, pulled slowly towards when media really arrives."""

from __future__ import annotations

from services.ingester.recorder.model import VIDEO_SCALE

SLEW_PER_S = 1  # ms


class WallClock:
    """Tells wall-clock ms of ticks (90 kHz); an encoder's clock that drifts is followed by at most 1 ms a second."""

    def __init__(self, anchor_ms: int) -> None:
        self.anchor_ms = anchor_ms
        self._correction = 0
        self._corrected_at = 0

    def at(self, ticks: int, now_ms: int) -> int:
        """Give the wall clock of `ticks`, whose media has just arrived at `now_ms`."""
        media_ms = ticks * 1000 // VIDEO_SCALE
        seconds = (ticks - self._corrected_at) // VIDEO_SCALE
        if seconds > 0:
            error = now_ms - (self.anchor_ms + media_ms + self._correction)
            most = seconds * SLEW_PER_S
            self._correction += max(-most, min(most, error))
            self._corrected_at += seconds * VIDEO_SCALE
        return self.anchor_ms + media_ms + self._correction
