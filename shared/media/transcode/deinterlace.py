"""Converts interlaced frames to progressive ones before any other step: one frame from each two fields."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph
from av.filter.context import FilterContext

from shared.media.transcode.filters import pulled, source, then
from shared.media.transcode.streams import FLICKS

_TICK = Fraction(1, FLICKS)


class Deinterlacer:
    """Yields frames in order, their `pts` in flicks; frames before the first interlaced one are unchanged.

    From that one on it is a frame late, since the next frame's fields show what moves.
    """

    def __init__(self) -> None:
        self._form: tuple[object, ...] = ()
        self._graph: Graph | None = None  # its filters live as long as it does
        self._ends: tuple[FilterContext, FilterContext] | None = None

    def push(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Take the next frame, and yield finished ones."""
        form = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self._ends is not None and form != self._form:
            yield from self.finish()
        if self._ends is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._form, self._ends = form, self._build(frame)
        begin, end = self._ends
        frame.time_base = _TICK
        begin.push(frame)
        yield from _timed(end)

    def finish(self) -> Iterator[av.VideoFrame]:
        """Yield the frames that are held back."""
        if self._ends is None:
            return
        begin, end = self._ends
        begin.push(None)
        yield from _timed(end)
        self._ends = self._graph = None

    def _build(self, frame: av.VideoFrame) -> tuple[FilterContext, FilterContext]:
        graph = Graph()
        graph.threads = 1
        begin = source(graph, frame, _TICK)
        end = then(graph, then(graph, begin, "bwdif", "mode=send_frame:parity=auto:deint=interlaced"), "buffersink")
        graph.configure()
        self._graph = graph
        return begin, end


def _timed(end: FilterContext) -> Iterator[av.VideoFrame]:
    """Yield frames with their times in flicks; the filter counts in halves."""
    for frame in pulled(end):
        frame.pts = int((frame.pts or 0) * (frame.time_base or _TICK) * FLICKS)
        frame.time_base = _TICK
        yield frame
