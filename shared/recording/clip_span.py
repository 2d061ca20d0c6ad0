"""In and out points of a clip in stream time: what its files and its playlist hold. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from shared.media.timeline import Clocks, Span
from shared.messages.clips import ClipCreate

# How far the wall clock may be corrected against the encoder's clock between two segments, s.
CLOCK_DRIFT: Final = Fraction(1, 4)
# How far the recording may be ahead of the wall clock, s: encoders send a burst when they start.
AHEAD: Final = Fraction(1)


def clip_span(order: ClipCreate, span: Span, clocks: Clocks | None, newest: Fraction | None, *, over: bool) -> Span:
    """Return in and out points; without `wait`, the clip ends at the time of the request.

    It still holds what was recorded by then, even where the wall clock says that this lies in the future. `span` is the
    selection in stream time, `newest` the recording's end; `clocks` is None where nothing was recorded. `over`: the job
    had ended when the clip was requested.
    """
    start, end = span
    asked = order.selection.end - order.selection.start
    if abs(end - start - asked) < CLOCK_DRIFT:  # no clock step between: keep the requested duration, to the frame
        fits = start + asked <= max(end if newest is None else newest, end)
        start, end = (start, start + asked) if fits else (end - asked, end)
    if clocks is not None and not (order.wait or over):
        present = clocks.to_stream(Fraction(order.requested_ms, 1000)) + AHEAD
        end = min(end, max(present, order.recorded_to or present))
    return Span(max(start, Fraction(0)), end)
