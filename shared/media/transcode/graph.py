"""Fits a decoded frame of any size to the output: upright, scaled with its aspect kept, with bars and an overlay."""

from __future__ import annotations

from fractions import Fraction

import av
from av.filter import Graph
from av.filter.context import FilterContext

from shared.media.transcode.colours import Colours
from shared.media.transcode.filters import TICK, pulled_one, source, then
from shared.media.transcode.overlay import Overlay
from shared.media.transcode.shape import Shape, alike
from shared.media.transcode.turns import TURNS, Turn, told_by

_WITH_ALPHA = "yuva420p|yuva422p|yuva444p|yuva420p10le|yuva422p10le|yuva444p10le|yuva444p12le|gbrap|gbrap10le|gbrap12le"


class PictureGraph:
    """Fits frames to a shape. Its filters are rebuilt when the frames' size, format or colours change."""

    def __init__(self, shape: Shape, pixels: str, overlay: Overlay | None = None, turn: Turn = "") -> None:
        self._shape, self._pixels, self._overlay, self._turn = shape, pixels, overlay, turn
        self._form: tuple[object, ...] = ()
        self._graph: Graph | None = None  # its filters live as long as it does
        self._ends: tuple[FilterContext, FilterContext] | None = None
        self._last: tuple[av.VideoFrame, av.VideoFrame] | None = None
        self.colours: Colours | None = None
        """Those of all pictures that come out, known with the first of them."""

    def fit(self, frame: av.VideoFrame, aspect: Fraction) -> av.VideoFrame:
        """Return the frame, whose pixels have `aspect`, fitted to the encoder's input."""
        if self._last is not None and self._last[0] is frame:
            return self._last[1]
        form = (frame.width, frame.height, frame.format.name, aspect, Colours.of(frame))
        if self._ends is None or form != self._form:
            self._ends, self._form = self._build(frame, aspect), form
        frame.pts, frame.time_base = 0, TICK  # so that the overlay's single picture stays on
        begin, end = self._ends
        begin.push(frame)
        fitted = pulled_one(end)
        self._last = frame, fitted
        return fitted

    def _build(self, frame: av.VideoFrame, aspect: Fraction) -> tuple[FilterContext, FilterContext]:
        """Link the filters; return their source and sink."""
        graph = Graph()
        graph.threads = 1
        begin = source(graph, frame)
        last = self._fitted(graph, begin, frame, aspect)
        picture = None
        if self._overlay is not None:
            picture = self._overlay.sized(self._shape)
            over = source(graph, picture)
            faded = then(graph, over, "colorchannelmixer", f"aa={float(Fraction(self._overlay.opacity, 100))}")
            laid = then(graph, last, "overlay", f"{self._overlay.where()}:eof_action=repeat:format=auto")
            faded.link_to(laid, 0, 1)
            last = laid
        aspect = self._shape.aspect
        last = then(graph, last, "setsar", f"{aspect.numerator}/{aspect.denominator}")
        end = then(graph, then(graph, last, "format", self._pixels), "buffersink")
        graph.configure()
        if picture is not None:
            picture.pts, picture.time_base = 0, TICK
            over.push(picture)
            over.push(None)
        self._graph = graph
        return begin, end

    def _fitted(self, graph: Graph, last: FilterContext, frame: av.VideoFrame, aspect: Fraction) -> FilterContext:
        """Turn, scale and pad."""
        shape, own = self._shape, Colours.of(frame)
        width, height = frame.width, frame.height
        turned = self._turn or told_by(frame)
        if turned:
            turn = TURNS[turned]
            for name, arguments in turn.filters:
                last = then(graph, last, name, arguments)
            if turn.swaps:
                width, height, aspect = height, width, 1 / aspect
        if any(part.is_alpha for part in frame.format.components):  # over black
            last = then(graph, then(graph, last, "format", _WITH_ALPHA), "premultiply", "inplace=1")
        if self.colours is None:
            self.colours = own.encoded(shape.video, height, shape.height)
        wide, high = fitted_size(width, height, aspect, shape)
        last = then(graph, last, "scale", f"{wide}:{high}:flags=bicubic:{own.conversion(self.colours, height)}")
        last = then(graph, last, "format", self._pixels)
        if (wide, high) != (shape.width, shape.height):
            last = then(graph, last, "pad", f"{shape.width}:{shape.height}:(ow-iw)/2:(oh-ih)/2")
        return last


def fitted_size(width: int, height: int, aspect: Fraction, shape: Shape) -> tuple[int, int]:
    """Return the largest size within the shape that keeps a picture's shown aspect; width and height are even."""
    shown = Fraction(width, height) * aspect
    if alike(shown, shape.shown):
        return shape.width, shape.height
    if shown > shape.shown:
        return shape.width, max(round(shape.height * shape.shown / shown / 2) * 2, 2)
    return max(round(shape.width * shown / shape.shown / 2) * 2, 2), shape.height
