"""Maps the encoder's clock to a session's single time line: stamps are already unwrapped; jumps are removed here.

All times are 90 kHz ticks. One offset maps the stamps of all tracks to the session's time. Lateness in the multiplex
does not matter: a track that arrives 0.7 s after the other is placed by its stamps. A frame that does not fit waits
until the next ones show what happened:

- the next one is where it would be without this frame: an outlier, placed between its neighbours;
- the next ones continue from it, and as much time has passed, or the other track has come as far: a gap;
- the next ones continue from it, and the other track jumps too, or there is none: the clock has jumped, and both
  tracks get a new offset (an epoch), each from its own first frame after the jump;
- the other track continues as before: only this track's stamps changed. Up to `jump` its stamps are used, since they
  keep audio and video together; beyond that it gets an offset of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from services.ingester.publication import VIDEO_SCALE, Arrival, Frame

Kind = Literal["video", "audio"]
SLACK = VIDEO_SCALE // 10
"""A step up to this length does not wait; a step back up to this length is disorder."""
KEPT_EPOCHS = 4
USUAL, LONGEST_USUAL = VIDEO_SCALE // 30, 10 * VIDEO_SCALE
GRAIN = 8
"""The weight of one step in the running average is 1/GRAIN."""
MOST_ODD = 8
"""This many frames in a row that do not fit are no longer outliers."""
FIRST_APART = 3 * VIDEO_SCALE
"""A track whose first frame is further than this from the other track has a clock of its own."""
LAG = 3 * VIDEO_SCALE // 2
"""How far the other track must continue until it is clear that it does not jump."""
PATIENCE = 2 * VIDEO_SCALE
LONE = VIDEO_SCALE // 2
"""How long a single frame that fits the other track waits."""
BURST = VIDEO_SCALE
"""Frames that arrive within this time of each other may come from a burst."""
MOST_HELD = 16 << 20
_TICK_NS = 1_000_000_000 // VIDEO_SCALE


class Placed(NamedTuple):
    """A frame with its time on the session's time line; `jumped`: the first one after the encoder's clock jumped."""

    frame: Frame
    arrival: Arrival
    dts: int
    jumped: bool = False


class _Track:
    """One track's current position, and its waiting frames."""

    __slots__ = ("arrival_ns", "held", "kind", "last", "near", "offset", "other_at", "typical")

    def __init__(self, kind: Kind, offset: int) -> None:
        self.kind = kind
        self.offset = offset
        self.last: int | None = None
        self.arrival_ns = 0
        self.typical = 0
        self.near = SLACK  # the longest step that is accepted without waiting
        self.held: list[tuple[Frame, Arrival]] = []
        self.other_at: int | None = None  # the other track's time when this one started to wait

    @property
    def usual(self) -> int:
        """The usual step between frames."""
        return self.typical or USUAL

    def learn(self, step: int) -> None:
        """Update the usual step: the first step sets it, a single long step hardly changes it."""
        if not self.typical:
            self.typical = min(step, LONGEST_USUAL)
        else:
            self.typical += (min(step, 4 * self.typical + USUAL) - self.typical) // GRAIN
        self.near = max(3 * self.typical, SLACK)

    def chain(self, longest: int) -> int:
        """Return the index in `held` from which the frames follow each other, by steps of at most `longest`.

        Steps up to twice the first one's are allowed too: pictures may change only every few seconds.
        """
        stamps = [frame.dts for frame, _ in self.held]
        first = stamps[0] + self.offset - (stamps[0] if self.last is None else self.last)
        longest = max(longest, self.near, min(2 * first, LONGEST_USUAL))
        at = len(stamps) - 1
        while at > 0 and 0 < stamps[at] - stamps[at - 1] <= longest:
            at -= 1
        return at


class TimeLine:
    """Places frames on the session's time line, whose tick 0 is the `origin` given at the start."""

    def __init__(self, jump: int) -> None:
        self.jumps = 0
        self._jump = jump
        self._epochs = [0]
        self._holding = False
        self._tracks: dict[Kind, _Track] = {}

    def begin(self, origin: int) -> None:
        """Start the session at time `origin` of the encoder's clock."""
        self._epochs = [-origin]
        self._tracks.clear()
        self._holding = False

    def place(self, frame: Frame, arrival: Arrival) -> Sequence[Placed]:
        """Place a frame; return the frames that are settled: usually just this one, none while it is unclear.

        A video track's times always rise. Audio times may step back where the encoder sent audio twice.
        """
        kind: Kind = frame.config.kind
        track = self._tracks.get(kind)
        if track is None:
            track = self._tracks[kind] = _Track(kind, self._epochs[-1])
        elif not self._holding and track.last is not None:  # the usual case
            step = frame.dts + track.offset - track.last
            if 0 < step <= track.near:
                if not 0 <= step - track.typical < GRAIN:
                    track.learn(step)
                track.last += step
                track.arrival_ns = arrival.ns
                return (Placed(frame, arrival, track.last),)
        placed = self._place(track, frame, arrival)
        self._holding = any(each.held for each in self._tracks.values())
        return placed

    def _place(self, track: _Track, frame: Frame, arrival: Arrival) -> Sequence[Placed]:
        if not track.held and self._is_in_line(track, frame, arrival):
            placed = [self._put(track, frame, arrival)]
        else:
            if not track.held:
                other = self._other(track)
                track.other_at = other.last if other else None
            track.held.append((frame, arrival))
            placed = self._judge(track, arrival)
        for other in self._tracks.values():
            if other is not track and other.held:
                placed += self._judge(other, arrival)
        return placed

    def flush(self) -> Sequence[Placed]:
        """Place the waiting frames at the end of the stream."""
        placed: list[Placed] = []
        for track in self._tracks.values():
            if track.held:
                placed += self._judge(track, track.held[-1][1], last=True)
        return placed

    @property
    def is_unclear(self) -> bool:
        """Whether frames wait until it is known where they belong."""
        return self._holding

    @property
    def now(self) -> int:
        """The time of the newest frame."""
        return max((track.last for track in self._tracks.values() if track.last is not None), default=0)

    def offset_for(self, stamp: int) -> int:
        """Return the offset in use that puts a stamp of the encoder's clock nearest to now."""
        offsets = {track.offset for track in self._tracks.values()} or {self._epochs[-1]}
        return min(offsets, key=lambda offset: abs(stamp + offset - self.now))

    def typical(self, kind: Kind) -> int:
        """Return the track's usual step between frames."""
        track = self._tracks.get(kind)
        return track.usual if track else USUAL

    def _other(self, track: _Track) -> _Track | None:
        return next((other for other in self._tracks.values() if other is not track), None)

    def _is_in_line(self, track: _Track, frame: Frame, arrival: Arrival) -> bool:
        time = frame.dts + track.offset
        if track.last is not None:
            return 0 < time - track.last <= track.near
        expected = self._expected(track, arrival)
        return expected is None or abs(time - expected) <= FIRST_APART

    def _expected(self, track: _Track, arrival: Arrival) -> int | None:
        """Return the other track's current time; None when there is no other track."""
        other = self._other(track)
        if other is None or other.last is None:
            return None
        return other.last + (arrival.ns - other.arrival_ns) // _TICK_NS

    def _put(
        self, track: _Track, frame: Frame, arrival: Arrival, *, time: int | None = None, jumped: bool = False
    ) -> Placed:
        """Place a frame at `time`, or by its stamp when None."""
        dts = frame.dts + track.offset if time is None else time
        if track.last is not None:
            step = dts - track.last
            if track.kind == "video" and step < 1:
                dts, step = track.last + 1, 1
            if step > 0 and not jumped:
                track.learn(step)
        track.last, track.arrival_ns = dts, arrival.ns
        return Placed(frame, arrival, dts, jumped)

    def _judge(self, track: _Track, now: Arrival, *, last: bool = False) -> list[Placed]:
        """Settle a track's waiting frames if they are clear; `last`: settle them in any case."""
        if track.last is None:
            return self._judge_first(track, last=last)
        held = track.held
        times = [frame.dts + track.offset - track.last for frame, _ in held]
        in_line = 0 < times[-1] <= track.near * len(held)
        if in_line and not all(0 < time < times[-1] for time in times[:-1]):
            return self._settle(track, len(held) - 1, track.offset)
        at = track.chain(self._jump)
        if len(held) - at < 2:
            if last:  # outliers at the end
                return [self._put(track, *held.pop(0), time=track.last + track.usual) for _ in range(len(held))]
            if len(held) < MOST_ODD and not self._is_enough(track, now):
                return []
        offset = self._offset(track, at, now, forced=last or len(held) >= MOST_ODD)
        return [] if offset is None else self._settle(track, at, offset)

    def _is_enough(self, track: _Track, now: Arrival) -> bool:
        """Return whether a single frame has waited long enough; less long when the other track agrees with it."""
        waited = (now.ns - track.held[0][1].ns) // _TICK_NS
        other = self._other(track)
        if other is not None and other.last is not None and track.other_at is not None:
            waited = max(waited, other.last - track.other_at)
        if waited > PATIENCE:
            return True
        if other is None or other.last is None or other.held or waited < LONE:
            return False
        return abs(track.held[-1][0].dts + track.offset - other.last) <= self._jump

    def _judge_first(self, track: _Track, *, last: bool) -> list[Placed]:
        """Settle a track's first frames, which are far from the other track's time."""
        held = track.held
        frame, came = held[-1]
        if self._is_in_line(track, frame, came):  # the earlier ones were outliers with no known time
            held.clear()
            return [self._put(track, frame, came)]
        at = track.chain(self._jump)
        if len(held) - at < 2 and not last:
            del held[:-MOST_ODD]
            return []
        first, arrived = held[at]
        expected = self._expected(track, arrived)
        track.offset = (expected or 0) - first.dts
        placed = [self._put(track, each, came) for each, came in held[at:]]
        held.clear()
        return placed

    def _settle(self, track: _Track, at: int, offset: int) -> list[Placed]:
        """Place the waiting frames: those from `at` on by `offset`, the outliers evenly before them."""
        held, start = track.held, track.last or 0
        jumped = offset != track.offset and self._is_news(track, offset)
        times = [frame.dts + track.offset for frame, _ in held[:at]]
        end = held[at][0].dts + offset
        if any(not before < after for before, after in pairwise((start, *times, end))):
            step = min(track.usual, max(end - start, 0) // (at + 1))
            times = [start + step * number for number in range(1, at + 1)]
        placed = [self._put(track, *one, time=time) for one, time in zip(held[:at], times, strict=True)]
        track.offset = offset
        for number, (frame, came) in enumerate(held[at:]):
            placed.append(self._put(track, frame, came, jumped=jumped and not number))
        held.clear()
        return placed

    def _is_news(self, track: _Track, offset: int) -> bool:
        """Return whether no track uses an offset yet, and count the jump; audio alone counts none."""
        alone = offset not in self._epochs
        if any(t.offset == offset for t in self._tracks.values()) or (alone and track.kind == "audio"):
            return False
        self.jumps += 1
        return True

    def _offset(self, track: _Track, at: int, now: Arrival, *, forced: bool) -> int | None:
        """Return the offset with which a track continues from `held[at]`; None while it is unclear."""
        frame, came = track.held[at]
        start = track.last or 0
        if (known := self._known_epoch(track, frame.dts - start)) is not None:
            return known
        step = frame.dts + track.offset - start
        if -SLACK <= step <= SLACK or self._is_gap(track, step, came):
            return track.offset
        small = 0 < step <= self._jump
        other = self._other(track)
        if other is not None and other.last is not None and now.ns - other.arrival_ns <= PATIENCE * _TICK_NS:
            if other.held and not small:
                return self._epoch([(track, at), (other, other.chain(self._jump))])
            if track.other_at is not None and other.last - track.other_at >= LAG:
                return track.offset if abs(step) <= self._jump else self._after(track, at)
            held = sum(len(each.payload) for each, _ in track.held)
            if not forced and now.ns - track.held[0][1].ns <= PATIENCE * _TICK_NS and held <= MOST_HELD:
                return None
        return track.offset if small else self._epoch([(track, at)])

    def _known_epoch(self, track: _Track, stamp: int) -> int | None:
        """Return the epoch that the other track already uses, if a stamp (relative to the last time) fits it."""
        back = SLACK if track.kind == "video" else self._jump
        for epoch in reversed(self._epochs):
            if epoch != track.offset and -back < stamp + epoch <= 2 * self._jump:
                return epoch
        return None

    def _is_gap(self, track: _Track, step: int, came: Arrival) -> bool:
        """Return whether a step is a pause, not a jump: arrivals took as long, or the other track has come as far."""
        if step <= 0:
            return False
        early = min(self._jump, step // 3)
        if step - (came.ns - track.arrival_ns) // _TICK_NS <= early:
            return True
        other = self._other(track)
        if other is None or other.last is None or other.offset != track.offset:
            return False
        return abs((track.last or 0) + step - other.last) <= early

    def _after(self, track: _Track, at: int) -> int:
        """Return the offset that puts `held[at]` after the track's last frame by the time that has passed."""
        frame, came = track.held[at]
        passed = (came.ns - track.arrival_ns) // _TICK_NS
        step = track.usual if passed < BURST else max(passed, track.usual)
        return (track.last or 0) + step - frame.dts

    def _epoch(self, jumping: Sequence[tuple[_Track, int]]) -> int:
        """Start an epoch in which no jumping track overlaps its earlier frames."""
        offset = max(self._after(track, at) for track, at in jumping)
        self._epochs = [*self._epochs[1 - KEPT_EPOCHS :], offset]
        return offset
