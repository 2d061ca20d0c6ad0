"""What the headers of AV1 and VP9 say of a picture, and the pixel format that FFmpeg has for it."""

from __future__ import annotations

from typing import NamedTuple

from shared.media.bitstream.look import Colour

_CHROMA = {0: "gray", 1: "yuv420p", 2: "yuv422p", 3: "yuv444p"}


class PictureForm(NamedTuple):
    """A picture's size and format; `chroma` as in H.264: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4. `level` as coded."""

    width: int
    height: int
    profile: int = 0
    level: int = 0
    tier: int = 0
    depth: int = 8
    chroma: int = 1
    chroma_place: int = 0
    colour: Colour | None = None


def pixel_name(chroma: int, depth: int) -> str:
    """Return FFmpeg's name of a pixel format."""
    name = _CHROMA[chroma]
    return f"{name}{depth}le" if depth > 8 else name
