"""Decode untrusted pictures in a child."""

from __future__ import annotations

from threading import Event

import numpy as np

from services.restreamer.model import SourceError
from services.restreamer.sources.apart.children import Children, children
from services.restreamer.sources.apart.wire import LASTING, Order, Said
from services.restreamer.sources.picture_files import KINDS, Kind, Pixels

CHANNELS = 4


def decoded(kind: Kind, data: bytes, side: int, family: Children | None = None) -> Pixels:
    """Return a picture of at most `side` pixels a side, decoded to height x width x RGBA. Raise SourceError."""
    child = (family or children()).child(Event())
    try:
        child.order(Order.PICTURE, number=side << 8 | KINDS.index(kind), data=data)
        message = child.answer()
    finally:
        child.close()
    if message.said is not Said.DONE:
        raise SourceError(message.text or "it cannot be decoded", lasting=bool(message.flags & LASTING))
    height, width = message.number >> 32, message.number & 0xFFFFFFFF
    if not (0 < height <= side and 0 < width <= side) or len(message.data) != height * width * CHANNELS:
        raise SourceError("the file makes its reader talk nonsense")
    return np.frombuffer(message.data, np.uint8).reshape(height, width, CHANNELS)
