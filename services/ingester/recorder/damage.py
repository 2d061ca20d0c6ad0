"""What a publisher's bytes may raise when they are damaged.

Parsers have their own errors for what they check. Nobody foresees all that damaged bytes can say, so whatever a parser
raises of these kinds costs the unit in hand, is counted in `damaged`, and the recording goes on with the next good one.
"""

from __future__ import annotations

import struct
from typing import Final

from services.ingester.publication import MAX_OFFSET, Frame
from shared.media.bitstream.errors import BitstreamError
from shared.media.mp4.boxes import Mp4Error

DAMAGE: Final = (Mp4Error, BitstreamError, ArithmeticError, LookupError, ValueError, struct.error)
"""Not NotMedia, which says that the bytes are not the container at all."""
_LARGEST: Final = 1 << 31
_RATES: Final = range(1, 10_000_001)


def is_sound(frame: Frame) -> bool:
    """Tell whether a frame can be stored: what a segment's tables, and what is told of it, have room for."""
    return (
        0 < len(frame.payload) < _LARGEST
        and abs(frame.offset) <= MAX_OFFSET
        and 0 <= frame.duration < _LARGEST
        and frame.config.timescale in _RATES
    )
