"""Which part of a picture is cut out, and how large it becomes. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from shared.errors import Rejected
from shared.media.transcode.decoder import LARGEST_SIDE, LONGEST_PIXEL, MOST_PIXELS
from shared.messages.edits import Crop

SMALLEST = 16
"""Of a side of what is cut out, pixels: no encoder and no player likes less."""


class Window(NamedTuple):
    """A part of an upright picture, in its own pixels, and its size in square ones. All are even, for its colours."""

    x: int
    y: int
    width: int
    height: int
    wide: int
    high: int


def window(width: int, height: int, pixel: Fraction, crop: Crop | None) -> Window:
    """Return the part of a picture whose pixels are `pixel` times as wide as high; without a crop, all of it.

    Rejected for pixels of an absurd shape, and where there would be more of them than are decoded.
    """
    if not Fraction(1, LONGEST_PIXEL) <= pixel <= LONGEST_PIXEL:
        raise Rejected("the recording's pixels have a shape that cannot be edited")
    across, down = Fraction(width), Fraction(height)
    if crop is not None:
        wanted = Fraction(*map(int, crop.aspect.split(":"))) / pixel
        across, down = min(across, down * wanted), min(down, across / wanted)
    wide, high = _even(across, width), _even(down, height)
    x, y = (0.5, 0.5) if crop is None else (crop.x, crop.y)
    square = max(round(wide * pixel / 2) * 2, 2)
    if square > LARGEST_SIDE or square * high > MOST_PIXELS:
        raise Rejected(f"pictures of {square}x{high} pixels cannot be edited")
    return Window(_begin(x, wide, width), _begin(y, high, height), wide, high, square, high)


def _even(length: Fraction, most: int) -> int:
    """Return the even number nearest to a length that the picture has room for."""
    return max(min(round(length / 2) * 2, most // 2 * 2), min(SMALLEST, most // 2 * 2))


def _begin(centre: float, length: int, most: int) -> int:
    begin = Fraction(centre) * most - Fraction(length, 2)
    return min(max(round(begin / 2) * 2, 0), (most - length) // 2 * 2)
