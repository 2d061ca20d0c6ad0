"""Which H.264 pictures FFmpeg's parser takes for keyframes, by their NAL units' types and SEI messages.

Source: ITU-T H.264, table 7-1, D.1.8 (recovery point).
"""

from __future__ import annotations

import struct
from typing import Final

from services.restreamer.sources.containers.payloads import LENGTH
from shared.errors import MediaError
from shared.media.bitstream.h264_entry import recovery_count
from shared.media.bitstream.nal import H264_IDR, H264_SEI, H264_SLICE

_FIRST_NAL: Final = struct.Struct(">IB")  # a NAL unit's length and type
_MOST_UNITS: Final = 32  # before a picture's first slice; with more, FFmpeg decides
_MOST_TOLD: Final = 1 << 12  # bytes of SEI messages, which are parsed one by one
_SLICES: Final = frozenset((H264_SLICE, H264_IDR))
_SETS: Final = frozenset((7, 8, 9, 12))  # NAL units that do not matter here: parameter sets, delimiter, filler


def is_key(data: bytes | bytearray, at: int, end: int) -> bool | None:
    """Return whether the picture at `at` is a keyframe: IDR, or with a recovery point. None: FFmpeg must decide."""
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
    """Return whether an SEI message has a recovery point; None when it is invalid."""
    try:
        return recovery_count([message]) is not None
    except (MediaError, IndexError):
        return None
