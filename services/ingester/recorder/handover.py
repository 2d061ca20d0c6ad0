"""Handing over complete segments once their wall clock is settled: a burst or a pause may still correct it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from services.ingester.publication import VIDEO_SCALE, Arrival
from services.ingester.recorder.model import SegmentInfo, Sink
from services.ingester.recorder.wall import WallClock

SETTLE_NS: Final = 1_000_000_000
"""A session's first segments are handed over once the session is this old."""
UNCLEAR_NS: Final = 2_000_000_000
"""How long a segment waits for the outcome of a pause."""


class _Whole(NamedTuple):
    """A segment that is complete on disk, and its start (90 kHz)."""

    info: SegmentInfo
    start: int


@dataclass(slots=True)
class HandOver:
    """Passes segments to the sink with wall-clock times; `lead` is the tick of the session's first frame."""

    sink: Sink
    wall: WallClock
    lead: int
    began_ns: int
    segments: int = 0
    bytes: int = 0
    _latest_tick: int = 0
    _latest: Arrival | None = None
    _settled: bool = False
    _last_start: int = 0
    _waiting: deque[_Whole] = field(default_factory=deque)

    def note(self, tick: int, arrival: Arrival) -> None:
        """Record a frame's arrival: of frames that arrive together, the first and the last are used for the clock."""
        if arrival is self._latest:
            self._latest_tick = max(tick, self._latest_tick)
            return
        self._catch_up()
        self._latest_tick, self._latest = tick, arrival
        self.wall.note(tick, arrival)

    @property
    def waits(self) -> bool:
        """Whether something is to be handed over once its wall clock is settled."""
        return bool(self._waiting) or not self._settled

    def date(self, tick: int) -> int:
        """Return the wall clock (ms) of a tick, as far as known."""
        self._catch_up()
        return self.wall.at(tick)

    def take(self, info: SegmentInfo) -> None:
        """Take a complete segment."""
        self._waiting.append(_Whole(info, info.start * VIDEO_SCALE // info.timescale))

    def finish(self) -> None:
        """Hand over all segments at the end."""
        self._catch_up()
        self.hand_over(None)

    def _catch_up(self) -> None:
        if self._latest is not None:
            self.wall.note(self._latest_tick, self._latest)

    def hand_over(self, now: Arrival | None) -> None:
        """Pass the sink the segments whose wall clock is settled at `now`, or all of them when `now` is None."""
        if not self._settled:
            if now is not None and now.ns - self.began_ns < SETTLE_NS:
                return
            self._settled = True
            self.sink.started(self.wall.at(self.lead), self.lead)
        while self._waiting:
            info, start = self._waiting[0]
            if now is not None and not self.wall.is_clear(start, now.ns - UNCLEAR_NS):
                return
            self._waiting.popleft()
            steps = bool(info.keyframes) and self.segments > 0 and self.wall.steps(self._last_start, start)
            self._last_start = start
            self.segments += 1
            self.bytes += info.bytes
            date = self.wall.at(start)
            self.sink.segment(replace(info, wall_start_ms=date, discontinuity=info.discontinuity or steps))
