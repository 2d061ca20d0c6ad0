"""A track of an MPEG-TS program, whatever its codec."""

from __future__ import annotations

from collections.abc import Callable

from services.ingester.publication import Frame
from services.ingester.recorder.pes import Pes
from services.ingester.recorder.unwrap import Unwrapper


class Track(Pes):
    """Turns a track's PES packets into frames, times on `clock` (90 kHz)."""

    def __init__(self, clock: Unwrapper, give: Callable[[Frame], None]) -> None:
        super().__init__()
        self._clock = clock
        self._give = give

    @property
    def unsupported(self) -> frozenset[str]:
        """What of the track cannot be recorded, by name."""
        return frozenset()

    def end(self) -> None:
        """Process what the end of the stream, or of the track, completes."""
        self.finish(at_end=True)
