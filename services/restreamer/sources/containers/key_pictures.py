"""Which H.264 pictures are keyframes to FFmpeg's parser, by their NAL units' types and messages.

Source: ITU-T H.264, table 7-1, D.1.8 (recovery point).
"""

from __future__ import annotations

import struct
from typing import Final

from services.restreamer.sources.containers.payloads import LENGTH
from shared.errors import MediaError
from shared.media.bitstream.h264_entry import recovery_count
from shared.media.bitstream.nal import H264_IDR, H264_SEI, H264_SLICE

_FIRST_NAL: Final = struct.Struct(">IB")  # its length and type
_MOST_UNITS: Final = 32  # before a picture's first slice; more are left to FFmpeg
_MOST_TOLD: Final = 1 << 12  # bytes of their messages, which are looked through one by one
_SLICES: Final = frozenset((H264_SLICE, H264_IDR))
_SETS: Final = frozenset((7, 8, 9, 12))  # NAL units before a slice that say nothing of it: sets, delimiter, filler


def is_key(data: bytes | bytearray, at: int, end: int) -> bool | None:
    """Tell it of the picture at `at`: IDR pictures are, and those with a recovery point. None: FFmpeg is to tell."""
    recovers, told = False, 0
    for _ in range(_MOST_UNITS):
        if at + LENGTH >= end:
            break
        size, kind = _FIRST_NAL.unpack_from(data, at)
        kind &= 31
        following = at + LENGTH + size
        if not 0 < size <= end - at - LENGTH:
            break
        if kind in _SLICES:
            return recovers or kind == H264_IDR
        if kind == H264_SEI:
            told += size
            found = _recovers(bytes(data[at + LENGTH : following])) if told <= _MOST_TOLD else None
            if found is None:
                break
            recovers = recovers or found
        elif kind not in _SETS:
            break
        at = following
    return None


def _recovers(message: bytes) -> bool | None:
    """Tell whether a message has a recovery point; None where it makes no sense."""
    try:
        return recovery_count([message]) is not None
    except (MediaError, IndexError):
        return None
