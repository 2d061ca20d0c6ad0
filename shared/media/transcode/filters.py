"""FFmpeg's filters, linked one by one; sources declare the frames' size, format and colours."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph
from av.filter.context import FilterContext

TICK = Fraction(1, 25)


def source(graph: Graph, frame: av.VideoFrame, tick: Fraction = TICK) -> FilterContext:
    """Return a source for frames like this one; their times are in `tick`."""
    colours = f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    form = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
    return graph.add("buffer", f"{form}:time_base={tick.numerator}/{tick.denominator}:{colours}")


def then(graph: Graph, last: FilterContext, name: str, arguments: str = "") -> FilterContext:
    """Add a filter after the last one, and return it."""
    following = graph.add(name, arguments) if arguments else graph.add(name)
    last.link_to(following)
    return following


def pulled_one(sink: FilterContext) -> av.VideoFrame:
    """Return the frame that is ready. BlockingIOError, EOFError when there is none."""
    frame = sink.pull()
    if not isinstance(frame, av.VideoFrame):
        raise TypeError("a graph of pictures gave something else")
    return frame


def pulled(sink: FilterContext) -> Iterator[av.VideoFrame]:
    """Yield all frames that are ready."""
    while True:
        try:
            frame = pulled_one(sink)
        except (BlockingIOError, EOFError):
            return
        yield frame
