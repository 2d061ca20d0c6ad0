"""From a decoded frame of any size to the output's: scaled with its aspect kept, bars, and a watermark."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
from av.filter import Graph
from av.filter.context import FilterContext

from services.restreamer.playout.shape import Shape
from services.restreamer.playout.terms import Picture
from shared.messages.restreams import Watermark

_COLUMNS = {"LEFT": "{margin}", "CENTER": "(W-w)/2", "RIGHT": "W-w-{margin}"}
_ROWS = {"TOP": "{margin}", "CENTER": "(H-h)/2", "BOTTOM": "H-h-{margin}"}
_TICK = Fraction(1, 25)


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark and its picture."""

    how: Watermark
    picture: av.VideoFrame

    def sized(self, shape: Shape) -> av.VideoFrame:
        """Give the picture as large as it is asked for, and no larger than the output."""
        width, height = self.picture.width, self.picture.height
        factor = Fraction(shape.width * self.how.scale, 100 * width) if self.how.scale else Fraction(1)
        factor = min(factor, Fraction(shape.width, width), Fraction(shape.height, height))
        wide, high = max(int(width * factor), 1), max(int(height * factor), 1)
        return self.picture.reformat(width=wide, height=high, format="rgba")

    def corner(self) -> str:
        """Give its place as the overlay filter's expressions."""
        row, _, column = self.how.corner.partition("_")
        across, down = _COLUMNS[column or "CENTER"], _ROWS[row]
        return f"x={across}:y={down}".format(margin=self.how.margin)


def read_mark(how: Watermark, picture: Picture) -> Mark:
    """Take a watermark's picture."""
    return Mark(how, av.VideoFrame.from_ndarray(picture.pixels, format="rgba"))


class PictureGraph:
    """Fits frames to a shape. Built anew when the frames' size or format changes."""

    def __init__(self, shape: Shape, pixels: str, mark: Mark | None) -> None:
        self._shape, self._pixels, self._mark = shape, pixels, mark
        self._form: tuple[object, ...] = ()
        self._graph: Graph | None = None  # its filters live as long as it does
        self._ends: tuple[FilterContext, FilterContext] | None = None

    def fit(self, frame: av.VideoFrame, aspect: Fraction) -> av.VideoFrame:
        """Give the frame, whose pixels have `aspect`, as the encoder takes it."""
        form = (frame.width, frame.height, frame.format.name, aspect)
        if self._ends is None or form != self._form:
            self._ends, self._form = self._build(frame, aspect), form
        frame.pts, frame.time_base = 0, _TICK  # so that the one picture of a watermark stays on
        source, sink = self._ends
        source.push(frame)
        fitted = sink.pull()
        assert isinstance(fitted, av.VideoFrame)  # noqa: S101  the graph has pictures only
        return fitted

    def _build(self, frame: av.VideoFrame, aspect: Fraction) -> tuple[FilterContext, FilterContext]:
        """Link the filters; give where frames go in and come out."""
        shape, graph = self._shape, Graph()
        graph.threads = 1
        width, height = fitted_size(frame.width, frame.height, aspect, shape)
        source = _source(graph, frame)
        last = _then(graph, source, "scale", f"{width}:{height}:flags=bicubic")
        last = _then(graph, last, "format", self._pixels)
        if (width, height) != (shape.width, shape.height):
            last = _then(graph, last, "pad", f"{shape.width}:{shape.height}:(ow-iw)/2:(oh-ih)/2")
        picture = None
        if self._mark is not None:
            picture = self._mark.sized(shape)
            mark = _source(graph, picture)
            opacity = Fraction(self._mark.how.opacity, 100)
            faded = _then(graph, mark, "colorchannelmixer", f"aa={float(opacity)}")
            overlay = _then(graph, last, "overlay", f"{self._mark.corner()}:eof_action=repeat:format=auto")
            faded.link_to(overlay, 0, 1)
            last = overlay
        sink = graph.add("buffersink")
        _then(graph, _then(graph, last, "setsar", "1"), "format", self._pixels).link_to(sink)
        graph.configure()
        if picture is not None:
            picture.pts, picture.time_base = 0, _TICK
            mark.push(picture)
            mark.push(None)
        self._graph = graph
        return source, sink


def _source(graph: Graph, frame: av.VideoFrame) -> FilterContext:
    return graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TICK)


def _then(graph: Graph, last: FilterContext, name: str, arguments: str) -> FilterContext:
    following = graph.add(name, arguments)
    last.link_to(following)
    return following


def fitted_size(width: int, height: int, aspect: Fraction, shape: Shape) -> tuple[int, int]:
    """Give the largest size within the shape that keeps a picture's aspect, even on both sides."""
    shown = Fraction(width, height) * aspect
    room = Fraction(shape.width, shape.height)
    if abs(shown / room - 1) < Fraction(1, 100):
        return shape.width, shape.height
    if shown > room:
        return shape.width, max(round(shape.width / shown / 2) * 2, 2)
    return max(round(shape.height * shown / 2) * 2, 2), shape.height
