"""Edits decoded pictures: upright, progressive ones come in, those of the clip's size come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
from av.filter import Graph
from av.filter.context import FilterContext

from services.clipper.edits.captions import Captions
from services.clipper.edits.lettering import draw
from services.clipper.edits.window import Window, window
from shared.media.transcode.colours import Colours
from shared.media.transcode.filters import TICK, pulled_one, source, then
from shared.media.transcode.overlay import Overlay
from shared.media.transcode.shape import Shape
from shared.media.transcode.turns import TURNS, Turn
from shared.messages.edits import Crop

FOOT = Fraction(1, 16)
"""Of the picture's height, below its captions."""


class Letters(NamedTuple):
    """How captions are drawn: their height in percent of the picture's, and the font's file ("": the usual one)."""

    size: float = 5
    font: str = ""


USUAL_LETTERS = Letters()


class Looks(NamedTuple):
    """How the pictures of a stream are shown: their pixels' aspect, width to height, and how they are turned."""

    pixel: Fraction = Fraction(1)
    turn: Turn = ""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What is done to each picture, with the pixels of what is laid over."""

    crop: Crop | None = None
    overlay: Overlay | None = None
    captions: Captions | None = None
    letters: Letters = USUAL_LETTERS

    @property
    def reason(self) -> str:
        """Return why all pictures are encoded, for people."""
        named = {"crop": self.crop, "overlay": self.overlay, "captions": self.captions}
        return "asked for: " + ", ".join(name for name, wish in named.items() if wish is not None)

    def said(self, moment: Fraction) -> str:
        """Return the caption at a time of the clip, s."""
        return "" if self.captions is None else self.captions.at(moment)

    def of(self, frame: av.VideoFrame, looks: Looks) -> Window:
        """Return the part of a decoded frame that is shown."""
        turn = TURNS.get(looks.turn)
        if turn is not None and turn.swaps:
            return window(frame.height, frame.width, 1 / looks.pixel, self.crop)
        return window(frame.width, frame.height, looks.pixel, self.crop)


class EditGraph:
    """Filters that edit frames for a shape, in its colours; rebuilt when the frames' form changes."""

    def __init__(self, edit: Edit, shape: Shape, pixels: str, colours: Colours) -> None:
        self._edit, self._shape, self._pixels, self._colours = edit, shape, pixels, colours
        self._form: tuple[object, ...] = ()
        self._graph: Graph | None = None  # its filters live as long as it does
        self._ends: tuple[FilterContext, FilterContext] | None = None

    def fit(self, frame: av.VideoFrame, looks: Looks, said: str = "") -> av.VideoFrame:
        """Return the frame as it is encoded, with the caption that is on show."""
        form = (frame.width, frame.height, frame.format.name, looks, Colours.of(frame), said)
        if self._ends is None or form != self._form:
            self._ends, self._form = self._build(frame, looks, said), form
        frame.pts, frame.time_base = 0, TICK  # so that the overlay's single picture stays on
        begin, end = self._ends
        begin.push(frame)
        return pulled_one(end)

    def _build(self, frame: av.VideoFrame, looks: Looks, said: str) -> tuple[FilterContext, FilterContext]:
        graph = Graph()
        graph.threads = 1
        begin = last = source(graph, frame)
        turn, part = TURNS.get(looks.turn), self._edit.of(frame, looks)
        for name, arguments in turn.filters if turn is not None else ():
            last = then(graph, last, name, arguments)
        last = then(graph, last, "crop", f"{part.width}:{part.height}:{part.x}:{part.y}:exact=1")
        own = Colours.of(frame)
        size = f"{self._shape.width}:{self._shape.height}:flags=bicubic"
        last = then(graph, last, "scale", f"{size}:{own.conversion(self._colours, frame.height)}")
        last = then(graph, last, "format", self._pixels)
        still: list[tuple[FilterContext, av.VideoFrame]] = []
        for overlay in self._overlays(said):
            picture = overlay.sized(self._shape)
            still.append((source(graph, picture), picture))
            faded = then(graph, still[-1][0], "colorchannelmixer", f"aa={float(Fraction(overlay.opacity, 100))}")
            last = then(graph, last, "overlay", f"{overlay.where()}:eof_action=repeat:format=auto")
            faded.link_to(last, 0, 1)
        last = then(graph, last, "setsar", "1")
        end = then(graph, then(graph, last, "format", self._pixels), "buffersink")
        graph.configure()
        for over, picture in still:
            picture.pts, picture.time_base = 0, TICK
            over.push(picture)
            over.push(None)
        self._graph = graph
        return begin, end

    def _overlays(self, said: str) -> Iterator[Overlay]:
        if self._edit.overlay is not None:
            yield self._edit.overlay
        if said:
            wide, high = self._shape.width, self._shape.height
            letters = self._edit.letters
            pixels = draw(said, wide, int(high * letters.size / 100), letters.font)
            yield Overlay(pixels, "BOTTOM_CENTER", int(high * FOOT))
