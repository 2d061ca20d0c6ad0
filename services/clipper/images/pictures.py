"""Turns a decoded frame into a still image: upright, with square pixels, progressive, SDR, in the wanted size."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph

from services.clipper.images.frames import Found
from services.clipper.images.tone import HDR, to_sdr
from shared.errors import Rejected
from shared.media.transcode.colours import Colours
from shared.media.transcode.decoder import LONGEST_PIXEL
from shared.media.transcode.deinterlace import Deinterlacer
from shared.media.transcode.filters import TICK, pulled_one, source, then
from shared.media.transcode.streams import FLICKS
from shared.media.transcode.turns import TURNS, told_by
from shared.messages.images import LARGEST_IMAGE, SMALLEST_IMAGE

Rgb = npt.NDArray[np.uint8]
_BT2020, _RGB = 9, 0
_NAMES: Final = {1: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_SD_HEIGHT: Final = 576


def picture(found: Found, width: int | None, height: int | None) -> Rgb:
    """Return the picture as height x width x RGB (sRGB).

    With one side given the aspect is kept, with both it is cropped; without any it has its own size, up to the limit.
    Nothing is scaled beyond the wanted size, whatever shape the file says. Rejected for pixels of an absurd shape.
    """
    if not Fraction(1, LONGEST_PIXEL) <= found.aspect <= LONGEST_PIXEL:
        raise Rejected(f"its pixels are {found.aspect} times as wide as high")
    frame = _progressive(found)
    turn = TURNS.get(told_by(frame))
    coded, shown = (frame.width, frame.height), (frame.width * found.aspect, Fraction(frame.height))
    if turn is not None and turn.swaps:
        coded, shown = (coded[1], coded[0]), (shown[1], shown[0])
    size = _size(shown, width, height)
    part = coded if width is None or height is None else _part(coded, shown, size)
    own = Colours.of(frame)
    graph = Graph()
    graph.threads = 1
    begin = last = source(graph, frame)
    for name, arguments in turn.filters if turn is not None else ():
        last = then(graph, last, name, arguments)
    if part != coded:
        last = then(graph, last, "crop", f"{part[0]}:{part[1]}:exact=1")
    last = then(graph, last, "scale", f"{size[0]}:{size[1]}:flags=bicubic+accurate_rnd{_input(own, frame.height)}")
    last = then(graph, last, "format", "rgb48le" if own.transfer in HDR else "rgb24")
    end = then(graph, last, "buffersink")
    graph.configure()
    frame.pts, frame.time_base = 0, TICK
    begin.push(frame)
    fitted = pulled_one(end)
    if own.transfer in HDR:
        return to_sdr(fitted.to_ndarray().astype(np.uint16), own)
    return fitted.to_ndarray().astype(np.uint8)


def _progressive(found: Found) -> av.VideoFrame:
    """Return the frame; of an interlaced one, what its neighbours show to be one moment."""
    if not found.frame.interlaced_frame:
        return found.frame
    fields = Deinterlacer()
    made: list[av.VideoFrame] = []
    around = [frame for frame in (found.before, found.frame, found.after) if frame is not None]
    for number, frame in enumerate(around):
        frame.pts, frame.time_base = number * FLICKS // 25, Fraction(1, FLICKS)
        made += fields.push(frame)
    made += fields.finish()
    return made[1 if found.before is not None else 0]


def _input(own: Colours, height: int) -> str:
    if own.matrix == _RGB:
        return ""
    name = _NAMES.get(own.matrix, "bt601" if height <= _SD_HEIGHT else "bt709")
    return f":in_color_matrix={name}:in_range={'full' if own.full else 'limited'}"


def _size(shown: tuple[Fraction, Fraction], width: int | None, height: int | None) -> tuple[int, int]:
    """Return the size of the image of a picture that is shown in a size."""
    if width is not None and height is not None:
        return width, height
    factor = Fraction(1)
    if width is not None:
        factor = width / shown[0]
    elif height is not None:
        factor = height / shown[1]
    factor = min(factor, LARGEST_IMAGE / max(shown))
    return max(round(shown[0] * factor), SMALLEST_IMAGE), max(round(shown[1] * factor), SMALLEST_IMAGE)


def _part(coded: tuple[int, int], shown: tuple[Fraction, Fraction], size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest part of a picture, in its own pixels, that is shown in the shape of a size."""
    factor = max(size[0] / shown[0], size[1] / shown[1])
    wide, high = (round(own * wanted / (factor * s)) for own, wanted, s in zip(coded, size, shown, strict=True))
    return max(wide, 1), max(high, 1)
