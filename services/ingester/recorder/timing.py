"""Encoders' clocks on a session's one time line: wraps are gone already, jumps are taken out here.

All times are 90 kHz ticks. Each jump gives an epoch: an offset between the encoder's clock and the session's. Video
and audio pass from one epoch to the next each when its own frames do, so that they stay in step.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from services.ingester.recorder.model import VIDEO_SCALE, Frame

Kind = Literal["video", "audio"]
SLACK = VIDEO_SCALE // 10  # a step back of up to 0.1 s is disorder, not a jump
KEPT_EPOCHS = 4
USUAL, LONGEST_USUAL = VIDEO_SCALE // 30, 10 * VIDEO_SCALE
_TICK_NS = 1_000_000_000 // VIDEO_SCALE


class Moment(NamedTuple):
    """When a frame is due on the session's time line; `jumped` for the first frame after the encoder's clock jumped."""

    dts: int
    jumped: bool


class _Progress:
    """How far one track has come."""

    __slots__ = ("arrival_ns", "dts", "offset", "typical")

    def __init__(self, dts: int, offset: int, arrival_ns: int) -> None:
        self.dts = dts
        self.offset = offset
        self.arrival_ns = arrival_ns
        self.typical = 0

    def advance(self, step: int, arrival_ns: int) -> None:
        """Go on by a step, and learn what steps are usual: the first one is, a single long one hardly is."""
        if self.typical:
            self.typical += (min(step, 4 * self.typical + USUAL) - self.typical) // 8
        else:
            self.typical = min(step, LONGEST_USUAL)
        self.dts += step
        self.arrival_ns = arrival_ns


class TimeLine:
    """Places frames on the session's time line, where tick 0 is the `origin` given at the start."""

    def __init__(self, jump: int) -> None:
        self.jumps = 0
        self._jump = jump
        self._offsets = [0]
        self._tracks: dict[Kind, _Progress] = {}

    def begin(self, origin: int) -> None:
        """Let the session begin at time `origin` of the encoder's clock."""
        self._offsets = [-origin]
        self._tracks.clear()

    def place(self, frame: Frame, now_ns: int) -> Moment:
        """Place a frame that has arrived at `now_ns`; a track's times always rise."""
        kind: Kind = frame.config.kind
        track = self._tracks.get(kind)
        if track is None:
            return self._first(kind, frame.dts, now_ns)
        jumped = False
        step = frame.dts + track.offset - track.dts
        if not 0 < step <= self._jump and not self._is_gap(track, step, now_ns):
            before = self.jumps
            track.offset = self._resettle(track, frame.dts, now_ns)
            step = frame.dts + track.offset - track.dts
            jumped = self.jumps > before
        track.advance(max(step, 1), now_ns)
        return Moment(track.dts, jumped)

    def typical(self, kind: Kind) -> int:
        """Give a track's usual step between frames."""
        track = self._tracks.get(kind)
        return track.typical or USUAL if track else USUAL

    def _first(self, kind: Kind, time: int, now_ns: int) -> Moment:
        offset = self._offsets[-1]
        other = next(iter(self._tracks.values()), None)
        jumped = False
        if other is not None and abs(time + offset - other.dts) > 2 * self._jump:
            expected = other.dts + (now_ns - other.arrival_ns) // _TICK_NS
            if abs(time + offset - expected) > 2 * self._jump:  # a clock of its own
                offset = expected - time
        self._tracks[kind] = _Progress(max(time + offset, 0), offset, now_ns)
        return Moment(time + offset, jumped)

    def _is_gap(self, track: _Progress, step: int, now_ns: int) -> bool:
        """Tell a pause from a jump: as much time has passed by arrival, or the other track has come as far."""
        if step <= 0:
            return step > -SLACK
        passed = (now_ns - track.arrival_ns) // _TICK_NS
        if step - passed <= self._jump:
            return True
        return any(
            other is not track and other.offset == track.offset and abs(track.dts + step - other.dts) <= self._jump
            for other in self._tracks.values()
        )

    def _resettle(self, track: _Progress, time: int, now_ns: int) -> int:
        """Find the epoch that a frame after a jump belongs to, or begin a new one by its arrival."""
        for offset in reversed(self._offsets):
            if offset != track.offset and -SLACK < time + offset - track.dts <= 2 * self._jump:
                return offset
        passed = (now_ns - track.arrival_ns) // _TICK_NS
        offset = track.dts + max(min(track.typical or USUAL, self._jump), passed) - time
        self._offsets = [*self._offsets[1 - KEPT_EPOCHS :], offset]
        self.jumps += 1
        return offset


class AudioGrid:
    """Audio frames side by side on the sample grid, though their time stamps are rounded or shaky.

    A stamp within 3 ms of where the last frame ended says nothing new. One that is further off pulls the grid
    by two ticks a frame, which follows any sound card's drift; beyond 0.1 s it is a gap, or sound too much.
    """

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self._near = scale * 3 // 1000
        self._far = scale // 10
        self._next: int | None = None

    def place(self, dts: int, duration: int) -> int | None:
        """Give a frame's tick (of the sample rate), given its time (90 kHz); None to leave the frame out."""
        due = (dts * self._scale + VIDEO_SCALE // 2) // VIDEO_SCALE
        at = due if self._next is None else self._next
        error = due - at
        if error < -self._far:
            return None
        if error > self._far:
            at = due
        elif abs(error) > self._near:
            at += 2 if error > 0 else -2
        self._next = at + duration
        return at
