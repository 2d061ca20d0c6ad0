"""Which part of a recording an output asks for: pure rules, exact fractions.

Brightcove's rules (Live API: Creating VOD Clips): two selectors of one family, or one with a duration, or a duration
alone, which counts back from the request (live) or from the end. An epoch pair must lie within created_at and the
request (live) or the end. Nothing is ever padded: what reaches beyond the recording is cut off, unless all of it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Final, Literal, Protocol

from shared.messages.clips import LONGEST_CLIP, Selection

LONGEST_WAIT: Final = timedelta(days=7)
# Less than a frame at 60 a second, which every range that is not a slip of the pen holds or touches.
SHORTEST_CLIP: Final = Fraction(1, 100)
Clock = Literal["stream", "wall"]
Held = Literal["both", "start", "end"]
FAMILIES: Final[tuple[tuple[Clock, str, str], ...]] = (
    ("stream", "stream_start_time", "stream_end_time"),
    ("wall", "start_time", "end_time"),
)


class Asked(Protocol):
    """What this module reads of an output."""

    stream_start_time: Fraction | None
    stream_end_time: Fraction | None
    start_time: Fraction | None
    end_time: Fraction | None
    duration: Fraction | None
    wait: bool


@dataclass(frozen=True, slots=True)
class Recording:
    """The times of a recording, ms since the epoch: `end_ms` is the end of what there is; `live`: more may come.

    `stream_end` is that end in stream time (s). While an encoder `publishes`, both are the present.
    """

    created_ms: int
    first_frame_ms: int
    end_ms: int
    stream_end: Fraction
    live: bool
    publishes: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """A resolved range; `wait`: its end is yet to come, and the asker waits for it."""

    selection: Selection
    asked_duration: Fraction
    wait: bool


class BadWindow(ValueError):  # noqa: N818  names what is wrong
    """The range cannot be served; `field` is the one to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def resolve(asked: Asked, recording: Recording) -> Window:
    """Find the range that an output asks for; BadWindow says which field is wrong."""
    if asked.duration is not None and asked.duration <= 0:
        raise BadWindow("duration", "must be more than 0")
    family = _family(asked)
    if family is None:
        if asked.duration is None:
            raise BadWindow("duration", "is needed, alone or with one of the start and end fields")
        _check_length("duration", asked.duration)
        return Window(_last(recording, asked.duration), asked.duration, wait=False)
    clock, start_name, end_name = family
    start, end, length, named = _ends(asked, start_name, end_name)
    _check_length(named, length)
    wait = _place(asked, recording, clock, (start_name, start), (end_name, end))
    held: Held = "both" if asked.duration is None else "end" if getattr(asked, start_name) is None else "start"
    return Window(Selection(clock=clock, start=start, end=end, held=held), length, wait)


def _last(recording: Recording, duration: Fraction) -> Selection:
    """Select the last seconds: before the present by the wall clock, or of what there is when nobody publishes."""
    if recording.publishes:
        end = Fraction(recording.end_ms, 1000)
        return Selection(clock="wall", start=end - duration, end=end, held="end")
    end = max(recording.stream_end, SHORTEST_CLIP)
    return Selection(clock="stream", start=max(end - duration, Fraction(0)), end=end, held="end")


def _family(asked: Asked) -> tuple[Clock, str, str] | None:
    used = [f for f in FAMILIES if getattr(asked, f[1]) is not None or getattr(asked, f[2]) is not None]
    if len(used) > 1:
        mixed = [name for f in used for name in f[1:] if getattr(asked, name) is not None]
        raise BadWindow(mixed[-1], f"{' and '.join(mixed)} cannot be mixed")
    return used[0] if used else None


def _ends(asked: Asked, start_name: str, end_name: str) -> tuple[Fraction, Fraction, Fraction, str]:
    """Give start, end, length, and the field that is to blame for the length."""
    start: Fraction | None = getattr(asked, start_name)
    end: Fraction | None = getattr(asked, end_name)
    for name, value in ((start_name, start), (end_name, end)):
        if value is not None and value < 0:
            raise BadWindow(name, "must not be negative")
    if start is not None and end is not None:
        if asked.duration is not None:
            raise BadWindow("duration", f"goes with {start_name} or {end_name}, not with both")
        if end <= start:
            raise BadWindow(end_name, f"must be after {start_name}")
        return start, end, end - start, end_name
    if asked.duration is None:
        raise BadWindow(end_name if end is None else start_name, "or a duration is needed as well")
    if start is not None:
        return start, start + asked.duration, asked.duration, "duration"
    assert end is not None  # noqa: S101  the family is used
    if end < SHORTEST_CLIP:
        raise BadWindow(end_name, f"must be at least {float(SHORTEST_CLIP)}")
    return max(end - asked.duration, Fraction(0)), end, asked.duration, "duration"


def _check_length(name: str, length: Fraction) -> None:
    if length < SHORTEST_CLIP:
        raise BadWindow(name, f"a clip is at least {float(SHORTEST_CLIP)} s long")
    if length > LONGEST_CLIP // timedelta(seconds=1):
        raise BadWindow(name, "a clip is at most 48 hours long")


def _place(
    asked: Asked, recording: Recording, clock: Clock, start: tuple[str, Fraction], end: tuple[str, Fraction]
) -> bool:
    """Hold the range against the recording; True when its end must be waited for."""
    first_ms = 0 if clock == "stream" else recording.first_frame_ms
    last_ms = int(recording.stream_end * 1000) if clock == "stream" else recording.end_ms
    wait = asked.wait and recording.live and end[1] * 1000 > last_ms
    if wait and end[1] * 1000 > last_ms + LONGEST_WAIT // timedelta(milliseconds=1):
        raise BadWindow(end[0], "is more than 7 days ahead")
    strict = clock == "wall" and asked.start_time is not None and asked.end_time is not None
    if strict:
        _check_epoch_pair(recording, start[1], end[1], wait=wait)
    if not wait and start[1] * 1000 >= last_ms:
        raise BadWindow(_given(asked, start[0], end[0]), _beyond(recording))
    if end[1] * 1000 <= first_ms:
        raise BadWindow(_given(asked, end[0], start[0]), "the range ends before the stream's first frame")
    return wait


def _given(asked: Asked, name: str, other: str) -> str:
    return name if getattr(asked, name) is not None else other


def _beyond(recording: Recording) -> str:
    if recording.live:
        return "the range lies wholly in the future; with wait: true it is cut when it has come"
    return "the range begins after the stream's end"


def _check_epoch_pair(recording: Recording, start: Fraction, end: Fraction, *, wait: bool) -> None:
    """Both ends must lie within the job's life, to the whole second."""
    if start < min(recording.created_ms, recording.first_frame_ms) // 1000:
        raise BadWindow("start_time", "is before the job's created_at")
    if end > -(-recording.end_ms // 1000) and not wait:
        limit = "the request; with wait: true the clip is completed later" if recording.live else "the stream's end"
        raise BadWindow("end_time", f"is after {limit}")
