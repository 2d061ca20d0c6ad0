"""The wall clock of media: when each tick was captured, estimated from when its frames arrive.

A frame cannot arrive before it was captured, so the least late frames determine the anchor (the wall clock of tick 0);
the others took longer. The least late frames of the last seconds are used to follow drift and slow encoders. Bursts
move the anchor back immediately: media that a relay buffered was captured before it was sent. After a pause in arrivals
the next second decides: when frames catch up, the network had stopped, and nothing changes; when they stay late, the
encoder had stopped, and the clock steps at the first frame after the pause.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Final

from services.ingester.publication import VIDEO_SCALE, Arrival

SLEW_PER_S: Final = 1  # ms
NEAR: Final = 100
"""Errors of up to so many ms are corrected slowly: they are network jitter."""
STEP: Final = 1000
"""A change of so many ms or more is a step, which is announced to players."""
STALL_NS: Final = 1_500_000_000
WATCH_NS: Final = 1_000_000_000
LONGEST_WATCH_NS: Final = 20_000_000_000
FLAT: Final = 200
CAUGHT_UP: Final = 300
WINDOW: Final = 4
LONGEST_BURST: Final = 10_000
"""An initial burst is assumed to be at most so many ms old."""
PIECES: Final = 64


@dataclass(slots=True)
class _Piece:
    """From tick `start` on, tick 0 has the wall clock `anchor` (ms)."""

    start: int
    anchor: int


@dataclass(slots=True)
class _Watch:
    """Observes arrivals after a pause: how late frames were at first, and how late they are since."""

    tick: int
    began_ns: int
    since_ns: int
    first: int
    latest: int
    latest_ns: int


class WallClock:
    """Maps ticks (90 kHz) of recently arrived frames to the wall clock."""

    def __init__(self, tick: int, arrival: Arrival) -> None:
        self._pieces = [_Piece(tick, arrival.ms - _ms(tick))]
        self._floor = self._pieces[0].anchor - LONGEST_BURST
        self._last_tick = tick
        self._last_ns = arrival.ns
        self._minima: deque[tuple[int, int]] = deque(maxlen=WINDOW + 1)  # (second, least late)
        self._watch: _Watch | None = None
        self._slewed_ns = arrival.ns

    def at(self, tick: int) -> int:
        """Return the wall clock (ms) of a tick."""
        return self._pieces[self._index(tick)].anchor + _ms(tick)

    def is_clear(self, tick: int, since_ns: int) -> bool:
        """Return whether a tick's wall clock is settled, or the pause before it began before `since_ns`."""
        watch = self._watch
        return watch is None or tick < watch.tick or watch.began_ns < since_ns

    def steps(self, before: int, tick: int) -> bool:
        """Return whether time is missing between two ticks because the encoder had stopped."""
        return self._pieces[self._index(tick)].anchor - self._pieces[self._index(before)].anchor >= STEP

    def note(self, tick: int, arrival: Arrival) -> None:
        """Record the arrival of a tick's frame."""
        late = arrival.ms - _ms(tick)
        paused = arrival.ns - self._last_ns - (tick - self._last_tick) * 100_000 // 9
        if paused >= STALL_NS and arrival.ns - self._last_ns >= STALL_NS and self._watch is None:
            self._watch = _Watch(tick, arrival.ns, arrival.ns, late, late, arrival.ns)
        self._last_tick, self._last_ns = max(tick, self._last_tick), arrival.ns
        piece = self._pieces[-1]
        if late < piece.anchor - NEAR:
            self._earlier(late, tick)
        self._remember(arrival, late)
        if self._watch is not None:
            self._look(self._watch, arrival.ns, late)
        else:
            self._follow(tick, arrival.ns)

    def _index(self, tick: int) -> int:
        return max(bisect_right(self._pieces, tick, key=lambda piece: piece.start) - 1, 0)

    def _remember(self, arrival: Arrival, late: int) -> None:
        second = arrival.ns // 1_000_000_000
        if self._minima and self._minima[-1][0] == second:
            self._minima[-1] = second, min(self._minima[-1][1], late)
        else:
            self._minima.append((second, late))

    def _earlier(self, late: int, tick: int) -> None:
        """Correct the clock for early frames: all frames since the last step were captured earlier than assumed."""
        piece = self._pieces[-1]
        first = len(self._pieces) == 1
        if first:
            piece.anchor = max(late, self._floor)
        if piece.anchor > late:
            if first or piece.anchor - late >= STEP:
                self._begin(tick, late)
            else:
                piece.anchor = late

    def _begin(self, tick: int, anchor: int) -> None:
        """Use another anchor from a tick on."""
        self._pieces = [p for p in self._pieces if p.start < tick][-PIECES:]
        self._pieces.append(_Piece(tick, anchor))
        self._minima.clear()

    def _follow(self, tick: int, now_ns: int) -> None:
        """Adjust the anchor by the least late frames of the last seconds, once a second."""
        if now_ns - self._slewed_ns < 1_000_000_000 or not self._minima:
            return
        seconds = (now_ns - self._slewed_ns) // 1_000_000_000
        self._slewed_ns = now_ns
        piece = self._pieces[-1]
        error = min(late for _, late in self._minima) - piece.anchor
        if error > NEAR and len(self._minima) > WINDOW:
            if error >= STEP:
                self._begin(tick, piece.anchor + error)
            else:
                piece.anchor += error
        else:
            most = seconds * SLEW_PER_S
            piece.anchor += max(-most, min(most, error))

    def _look(self, watch: _Watch, now_ns: int, late: int) -> None:
        """Decide the cause of a pause: frames that catch up were delayed, frames that stay late were captured late."""
        if late <= watch.latest or now_ns - watch.latest_ns > WATCH_NS // 2:
            watch.latest, watch.latest_ns = late, now_ns
        anchor = self._pieces[-1].anchor
        if late <= anchor + CAUGHT_UP:
            self._watch = None
        elif now_ns - watch.since_ns >= WATCH_NS:
            if watch.first - watch.latest <= FLAT or now_ns - watch.began_ns > LONGEST_WATCH_NS:
                self._watch = None
                self._begin(watch.tick, watch.latest)
            else:
                watch.first, watch.since_ns = watch.latest, now_ns


def _ms(tick: int) -> int:
    return tick * 1000 // VIDEO_SCALE
