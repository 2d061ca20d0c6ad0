"""Which part of a recording an output requests: pure rules, exact fractions.

Brightcove's rules (Live API: Creating VOD Clips): two selectors of one family, or one with a duration, or a duration
alone, which counts back from the request (live) or from the end. An epoch pair must lie within created_at and the
request (live) or the end. Nothing is padded: a range that reaches beyond the recording is cut off, or refused if all of
it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from services.gateway.domain.errors import invalid
from shared.media.timecode import Label
from shared.messages.clips import LONGEST_CLIP, LONGEST_WAIT
from shared.messages.ranges import Selection

# Less than a frame at 60 a second; a shorter range is a mistake.
SHORTEST_CLIP: Final = Fraction(1, 100)
Clock = Literal["stream", "wall"]
Held = Literal["both", "start", "end"]


class Names(NamedTuple):
    """The names of a range's fields in the request, for errors."""

    start: str = "start"
    end: str = "end"
    duration: str = "duration"


DEFAULT_NAMES: Final = Names()


@dataclass(frozen=True, slots=True)
class ClipRange:
    """A requested range, in s: two points of one clock, one of them and a duration, or a duration alone.

    `wait`: wait for an end in the future.
    """

    clock: Clock | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    duration: Fraction | None = None
    wait: bool = False
    names: Names = DEFAULT_NAMES

    def called(self, preferred: Literal["start", "end"]) -> str:
        """Return the request's name of one of the two points: the preferred one, if it is set."""
        other: Literal["start", "end"] = "end" if preferred == "start" else "start"
        chosen = preferred if getattr(self, preferred) is not None else other
        return str(getattr(self.names, chosen))


@dataclass(frozen=True, slots=True)
class TimecodeRange:
    """A requested range by timecode: two labels, or one of them and a duration in s."""

    start: Label | None
    end: Label | None
    duration: Fraction | None
    wait: bool
    names: Names


@dataclass(frozen=True, slots=True)
class Recording:
    """The times of a recording, ms since the epoch: `end_ms` is its end so far; `live`: more may follow.

    `stream_end` is that end in stream time (s). While an encoder `publishes`, both are the present. `zero` is where the
    stream's time begins in that of the whole recording: not 0 in an activation of a static entry point.
    """

    created_ms: int
    first_frame_ms: int
    end_ms: int
    stream_end: Fraction
    live: bool
    publishes: bool = True
    zero: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Window:
    """A resolved range; `wait`: its end lies in the future and is waited for."""

    selection: Selection
    asked_duration: Fraction
    wait: bool


def resolve(asked: ClipRange, recording: Recording) -> Window:
    """Resolve a requested range; Invalid says which field is wrong."""
    names = asked.names
    if asked.duration is not None and asked.duration <= 0:
        raise invalid(names.duration, "must be more than 0")
    if asked.clock is None:
        if asked.duration is None:
            raise invalid(names.duration, "is needed, alone or with one of the start and end fields")
        _check_length(names.duration, asked.duration)
        return Window(_moved(_last(recording, asked.duration), recording), asked.duration, wait=False)
    start, end, length = points(asked)
    wait = _check_bounds(asked, recording, asked.clock, start, end)
    held: Held = "both" if asked.duration is None else "end" if asked.start is None else "start"
    return Window(_moved(Selection(clock=asked.clock, start=start, end=end, held=held), recording), length, wait)


def _moved(selection: Selection, recording: Recording) -> Selection:
    """Return a selection in the stream time of the whole recording."""
    if selection.clock == "wall" or not recording.zero:
        return selection
    moved = {"start": selection.start + recording.zero, "end": selection.end + recording.zero}
    return selection.model_copy(update=moved)


def _last(recording: Recording, duration: Fraction) -> Selection:
    """Select the last seconds: before the present by the wall clock, or of the recording when nobody publishes."""
    if recording.publishes:
        end = Fraction(recording.end_ms, 1000)
        return Selection(clock="wall", start=end - duration, end=end, held="end")
    end = max(recording.stream_end, SHORTEST_CLIP)
    return Selection(clock="stream", start=max(end - duration, Fraction(0)), end=end, held="end")


def points(asked: ClipRange) -> tuple[Fraction, Fraction, Fraction]:
    """Return start, end and length of a range by a clock, as far as they do not depend on a recording; Invalid."""
    if asked.duration is not None and asked.duration <= 0:
        raise invalid(asked.names.duration, "must be more than 0")
    start, end, length, blamed = _ends(asked)
    _check_length(blamed, length)
    return start, end, length


def _ends(asked: ClipRange) -> tuple[Fraction, Fraction, Fraction, str]:
    """Return start, end, length, and the field that determines the length, for errors."""
    start, end, names = asked.start, asked.end, asked.names
    for name, value in ((names.start, start), (names.end, end)):
        if value is not None and value < 0:
            raise invalid(name, "must not be negative")
    if start is not None and end is not None:
        if asked.duration is not None:
            raise invalid(names.duration, f"goes with {names.start} or {names.end}, not with both")
        if end <= start:
            raise invalid(names.end, f"must be after {names.start}")
        return start, end, end - start, names.end
    if asked.duration is None:
        raise invalid(names.end if end is None else names.start, "or a duration is needed as well")
    if start is not None:
        return start, start + asked.duration, asked.duration, names.duration
    assert end is not None  # noqa: S101  one of the two is given where there is a clock
    if end < SHORTEST_CLIP:
        raise invalid(names.end, f"must be at least {float(SHORTEST_CLIP)}")
    return max(end - asked.duration, Fraction(0)), end, asked.duration, names.duration


def _check_length(name: str, length: Fraction) -> None:
    if length < SHORTEST_CLIP:
        raise invalid(name, f"a clip is at least {float(SHORTEST_CLIP)} s long")
    if length > LONGEST_CLIP // timedelta(seconds=1):
        raise invalid(name, "a clip is at most 48 hours long")


def _check_bounds(asked: ClipRange, recording: Recording, clock: Clock, start: Fraction, end: Fraction) -> bool:
    """Check the range against the recording; return whether its end must be waited for."""
    first_ms = 0 if clock == "stream" else recording.first_frame_ms
    last_ms = int(recording.stream_end * 1000) if clock == "stream" else recording.end_ms
    wait = asked.wait and recording.live and end * 1000 > last_ms
    if wait and end * 1000 > last_ms + LONGEST_WAIT // timedelta(milliseconds=1):
        raise invalid(asked.names.end, "is more than 7 days ahead")
    if clock == "wall" and asked.start is not None and asked.end is not None:
        _check_epoch_pair(asked.names, recording, start, end, wait=wait)
    if not wait and start * 1000 >= last_ms:
        raise invalid(asked.called("start"), _beyond(recording))
    if end * 1000 <= first_ms:
        raise invalid(asked.called("end"), "the range ends before the stream's first frame")
    return wait


def _beyond(recording: Recording) -> str:
    if recording.live:
        return "the range lies wholly in the future; with wait: true it is cut when it has come"
    return "the range begins after the stream's end"


def _check_epoch_pair(names: Names, recording: Recording, start: Fraction, end: Fraction, *, wait: bool) -> None:
    """Check that both ends lie within the job's life, to the whole second."""
    if start < min(recording.created_ms, recording.first_frame_ms) // 1000:
        raise invalid(names.start, "is before the job's created_at")
    if end > -(-recording.end_ms // 1000) and not wait:
        limit = "the request; with wait: true the clip is completed later" if recording.live else "the stream's end"
        raise invalid(names.end, f"is after {limit}")
