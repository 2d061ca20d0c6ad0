"""A picture that is laid over others: a watermark."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from shared.media.transcode.shape import Shape

_COLUMNS = {"LEFT": "{margin}", "CENTER": "(W-w)/2", "RIGHT": "W-w-{margin}"}
_ROWS = {"TOP": "{margin}", "CENTER": "(H-h)/2", "BOTTOM": "H-h-{margin}"}


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """An overlay of height x width x RGBA; `corner` such as TOP_LEFT, TOP_CENTER or CENTER, `margin` in pixels.

    `scale` in percent of the output's width (0: its own size), `opacity` in percent.
    """

    pixels: npt.NDArray[np.uint8]
    corner: str = "TOP_LEFT"
    margin: int = 16
    scale: int = 0
    opacity: int = 100

    def sized(self, shape: Shape) -> av.VideoFrame:
        """Return the picture in the requested size, but no larger than the output."""
        picture = av.VideoFrame.from_ndarray(self.pixels, format="rgba")
        width, height = Fraction(picture.width) / shape.aspect, picture.height
        factor = Fraction(shape.width * self.scale, 100 * width) if self.scale else Fraction(1)
        factor = min(factor, Fraction(shape.width, width), Fraction(shape.height, height))
        wide, high = max(int(width * factor), 1), max(int(height * factor), 1)
        return picture.reformat(width=wide, height=high, format="rgba")

    def where(self) -> str:
        """Return its position as the overlay filter's expressions."""
        row, _, column = self.corner.partition("_")
        across, down = _COLUMNS[column or "CENTER"], _ROWS[row]
        return f"x={across}:y={down}".format(margin=self.margin)
