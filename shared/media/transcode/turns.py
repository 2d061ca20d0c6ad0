"""How a picture is turned for display: the display matrix of mp4 and Matroska.

Source: ISO/IEC 14496-12 (6.2.2, 8.3.2): a point (x, y) of the coded picture, y downwards, is shown at
(a x + c y, b x + d y), the matrix being a, b, u, c, d, v, x, y, w.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

import av
from av.sidedata.sidedata import SideData

Turn = Literal["", "90", "180", "270", "mirrored", "upside down", "transposed", "transversed"]
"""Clockwise by that many degrees, or mirrored: left and right, top and bottom, along one diagonal or the other."""

_MATRIX: Final = struct.Struct("=9i")


@dataclass(frozen=True, slots=True)
class How:
    """FFmpeg's filters for a turn, whether width becomes height, and words for people."""

    filters: tuple[tuple[str, str], ...]
    swaps: bool
    text: str


_CLOCK, _COUNTER = ("transpose", "clock"), ("transpose", "cclock")
TURNS: Final[dict[Turn, How]] = {
    "90": How((_CLOCK,), swaps=True, text="it is shown turned by 90 degrees"),
    "180": How((("hflip", ""), ("vflip", "")), swaps=False, text="it is shown turned by 180 degrees"),
    "270": How((_COUNTER,), swaps=True, text="it is shown turned by 270 degrees"),
    "mirrored": How((("hflip", ""),), swaps=False, text="it is shown mirrored"),
    "upside down": How((("vflip", ""),), swaps=False, text="it is shown mirrored upside down"),
    "transposed": How((("transpose", "cclock_flip"),), swaps=True, text="it is shown turned and mirrored"),
    "transversed": How((("transpose", "clock_flip"),), swaps=True, text="it is shown turned and mirrored"),
}


def told_by(frame: av.VideoFrame) -> Turn:
    """Return the turn of a decoded frame, from its container's matrix or the one in its own data."""
    found = frame.side_data.get("DISPLAYMATRIX")
    return turn_of(bytes(found)) if isinstance(found, SideData) else ""


def turn_of(matrix: bytes) -> Turn:
    """Return the turn of a display matrix in FFmpeg's form, rounded to a quarter."""
    if len(matrix) < _MATRIX.size:
        return ""
    a, b, _, c, d, *_ = _MATRIX.unpack_from(matrix)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        if a < 0:
            return "180" if d < 0 else "mirrored"
        return "upside down" if d < 0 else ""
    if b > 0:
        return "transposed" if c > 0 else "90"
    return "transversed" if c < 0 else "270"
