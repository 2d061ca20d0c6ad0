"""Draws captions: white letters with a black edge, as wide as the picture has room for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from shared.errors import Rejected

# What Debian's fonts-dejavu-core installs: Latin, Greek, Cyrillic, Arabic, Hebrew. Pillow's own font is Latin alone.
USUAL: Final = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
ROOM: Final = 0.9  # of the picture's width
EDGE: Final = 12  # the letters' height is so many times their edge's
MOST_LINES: Final = 6
SMALLEST: Final = 8
_WHITE, _BLACK = (255, 255, 255, 255), (0, 0, 0, 255)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(text: str, width: int, size: int, font: str = "") -> npt.NDArray[np.uint8]:
    """Return lines of text as height x width x RGBA, for a picture of that width; letters are `size` pixels high.

    Rejected when the font cannot be read.
    """
    size = max(size, SMALLEST)
    letters, edge = _font(font, size), max(size // EDGE, 1)
    lines = [part for line in text.split("\n") for part in _wrapped(line, letters, int(width * ROOM))][:MOST_LINES]
    measure = ImageDraw.Draw(Image.new("RGBA", (1, 1)))
    said = "\n".join(lines)
    box = measure.multiline_textbbox((0, 0), said, font=letters, align="center", stroke_width=edge, spacing=size // 5)
    wide, high = max(int(box[2] - box[0]) + 2, 2), max(int(box[3] - box[1]) + 2, 2)
    image = Image.new("RGBA", (min(wide, width), high), (0, 0, 0, 0))
    at = (1 - box[0], 1 - box[1])
    ImageDraw.Draw(image).multiline_text(
        at, said, font=letters, align="center", spacing=size // 5, fill=_WHITE, stroke_width=edge, stroke_fill=_BLACK
    )
    return np.asarray(image)


def _font(path: str, size: int) -> Font:
    if not path and not USUAL.exists():
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(path or str(USUAL), size)
    except OSError as error:
        raise Rejected("the font for captions cannot be read") from error


def _wrapped(line: str, letters: Font, room: int) -> list[str]:
    """Break a line where it is too long: between words, or within one that has no room by itself."""
    found: list[str] = [""]
    for word in line.split():
        longer = f"{found[-1]} {word}".strip()
        if letters.getlength(longer) <= room:
            found[-1] = longer
            continue
        if found[-1]:
            found.append("")
        for letter in word:
            if found[-1] and letters.getlength(found[-1] + letter) > room:
                found.append("")
            found[-1] += letter
    return found
