"""Ranges of clips that are asked for before there is a stream: how they are checked and kept. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from services.gateway.domain.clips.window import ClipRange, Names, TimecodeRange, Window, points
from services.gateway.domain.errors import Fault, Invalid, invalid
from shared.media.timecode import parse_label
from shared.messages.ranges import AfterLive, Selection

ALONE: Final = "is needed, alone or with one of the start and end fields"


def looked_ahead(field: str, asked: ClipRange | TimecodeRange, now_ms: int) -> Window:
    """Check a range as far as possible; return what is known of it: the length alone of one by duration or timecode.

    Invalid names fields as in the request. A time that has passed before the job is made cannot be in its stream.
    """
    try:
        return _looked(asked, now_ms)
    except Invalid as error:
        raise Invalid(*(Fault(f"{field}.{fault.field}", fault.why) for fault in error.faults)) from error


def _looked(asked: ClipRange | TimecodeRange, now_ms: int) -> Window:
    if isinstance(asked, TimecodeRange):
        return _by_timecode(asked)
    if asked.clock is None:
        if asked.duration is None:
            raise invalid(asked.names.duration, ALONE)
        points(ClipRange("stream", Fraction(0), None, asked.duration, names=asked.names))
        return Window(Selection(clock="stream", start=Fraction(0), end=asked.duration), asked.duration, wait=False)
    start, end, length = points(asked)
    if asked.clock == "wall" and end * 1000 <= now_ms:
        raise invalid(asked.called("end"), "is before the job's created_at")
    return Window(Selection(clock=asked.clock, start=start, end=end), length, wait=False)


def _by_timecode(asked: TimecodeRange) -> Window:
    names = asked.names
    if asked.start is not None and asked.end is not None:
        if asked.duration is not None:
            raise invalid(names.duration, f"goes with {names.start} or {names.end}, not with both")
        if asked.start == asked.end:
            raise invalid(names.end, f"must be after {names.start}")
    elif asked.duration is None:
        raise invalid(names.end if asked.end is None else names.start, "or a duration is needed as well")
    else:
        points(ClipRange("stream", Fraction(0), None, asked.duration, names=names))
    length = asked.duration or Fraction(0)
    return Window(Selection(clock="stream", start=Fraction(0), end=length), length, wait=False)


def after_live(asked: ClipRange | TimecodeRange) -> AfterLive:
    """Return a range as it is kept until its job has ended."""
    clock = "timecode" if isinstance(asked, TimecodeRange) else asked.clock
    start, end = (None if point is None else str(point) for point in (asked.start, asked.end))
    return AfterLive(clock=clock, start=start, end=end, duration=asked.duration, names=asked.names)


def asked_range(kept: AfterLive) -> ClipRange | TimecodeRange:
    """Return the range that was asked for; the stream has ended, so nothing of it is waited for."""
    names = Names(*kept.names)
    if kept.clock == "timecode":
        first, after = (None if text is None else parse_label(text) for text in (kept.start, kept.end))
        return TimecodeRange(first, after, kept.duration, False, names)
    start, end = (None if text is None else Fraction(text) for text in (kept.start, kept.end))
    return ClipRange(kept.clock, start, end, kept.duration, names=names)
