"""The errors that damaged bytes from a publisher may raise.

Parsers have their own errors for what they check, but cannot check everything. When a parser raises one of these, the
current unit is dropped and counted in `damaged`, and the recording continues with the next good unit.
"""

from __future__ import annotations

import struct
from typing import Final

from services.ingester.publication import MAX_OFFSET, Frame
from shared.media.bitstream.errors import BitstreamError
from shared.media.mp4.boxes import Mp4Error

DAMAGE: Final = (Mp4Error, BitstreamError, ArithmeticError, LookupError, ValueError, struct.error)
"""Excludes NotMedia, which means that the bytes are not in the container format at all."""
_LARGEST: Final = 1 << 31
_RATES: Final = range(1, 10_000_001)


def is_sound(frame: Frame) -> bool:
    """Return whether a frame can be stored: its values fit into a segment's tables and its messages."""
    return (
        0 < len(frame.payload) < _LARGEST
        and abs(frame.offset) <= MAX_OFFSET
        and 0 <= frame.duration < _LARGEST
        and frame.config.timescale in _RATES
    )
