"""Enhanced RTMP's colorInfo: colours and light of the pictures, told beside them.

Source: Veovera, "Enhanced RTMP v2" (Metadata Frame).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final

from shared.media.bitstream.look import UNSPECIFIED, Colour
from shared.media.mp4.hdr import CLLI, COLR, MDCV, colour_box
from shared.rtmp.amf import decode
from shared.rtmp.cursor import Value

_POINTS: Final = ("greenX", "greenY", "blueX", "blueY", "redX", "redY", "whitePointX", "whitePointY")
MOST: Final = 4096


def read_colour_info(data: bytes) -> dict[bytes, bytes]:
    """Return the content of the boxes colr, mdcv and clli that a metadata message tells; empty for any other."""
    values = decode(data[:MOST], depth=8, values=64, strict=False)
    info = values[1] if len(values) > 1 and values[0] == "colorInfo" else None
    if not isinstance(info, Mapping):
        return {}
    found = {COLR: _colour(info.get("colorConfig")), MDCV: _display(info.get("hdrMdcv")), CLLI: _light(info)}
    return {kind: content for kind, content in found.items() if content}


def _colour(told: Value) -> bytes:
    if not isinstance(told, Mapping):
        return b""
    names = ("colorPrimaries", "transferCharacteristics", "matrixCoefficients")
    codes = [_number(told.get(name), 1, 255) or UNSPECIFIED for name in names]
    colour = Colour(codes[0], codes[1], codes[2], full=False)
    return colour_box(colour) if set(codes) != {UNSPECIFIED} else b""


def _display(told: Value) -> bytes:
    if not isinstance(told, Mapping):
        return b""
    points = [_number(told.get(name), 50_000, 0xFFFF) for name in _POINTS]
    light = [_number(told.get(name), 10_000, 0xFFFFFFFF) for name in ("maxLuminance", "minLuminance")]
    if not light[0] or None in points:
        return b""
    return struct.pack(">8HII", *points, light[0], light[1] or 0)


def _light(info: Mapping[str, Value]) -> bytes:
    told = info.get("hdrCll")
    if not isinstance(told, Mapping):
        return b""
    most, average = (_number(told.get(name), 1, 0xFFFF) for name in ("maxCLL", "maxFall"))
    return struct.pack(">HH", most or 0, average or 0) if most or average else b""


def _number(value: Value, unit: int, most: int) -> int | None:
    """Return a value in units of 1 / `unit`; None for what is no number, or none that is allowed."""
    if not isinstance(value, float) or not math.isfinite(value) or not 0 <= value * unit <= most:
        return None
    return round(value * unit)
