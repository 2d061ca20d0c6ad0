"""How many packets a sound decoder must have been given before its output is right, to the sample."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Final

from shared.media.bitstream.mpeg_audio import RESERVOIR
from shared.media.mp4.aac import read_aac
from shared.media.mp4.entries import codec_record
from shared.media.tracks import TrackConfig

OPUS: Final = Fraction(160, 1000)
"""Opus converges in 80 ms or more (RFC 7845, 4.6): after 80 ms a tone was off by a tenth, after 160 by a percent."""
AAC, SBR, AAC_FRAME = 1, 2, 1024
"""AAC overlaps two frames, and its SBR tool needs one more (ISO/IEC 14496-3, 4.6.18)."""
MP3: Final = 2
"""Layer III overlaps two frames, and its filter bank remembers 480 samples (ISO/IEC 11172-3, 2.4.3.4)."""
_MP3_HEAD: Final = 38
"""The most bytes of a layer III frame that are no main data: header, checksum, side information."""


def preroll(config: TrackConfig, length: int, size: int) -> int:
    """Return the number of packets, of `length` ticks and at least `size` bytes, that only warm up a decoder.

    Before those of layer III come the frames that hold the beginning of their data (the bit reservoir).
    """
    if config.codec == "opus":
        return ceil(OPUS * config.timescale / length)
    if config.codec == "flac":
        return 0
    if config.codec == "mp3":
        return MP3 + ceil(Fraction(RESERVOIR, max(size - _MP3_HEAD, _MP3_HEAD)))
    if config.codec == "aac" and read_aac(codec_record(config)).frame > AAC_FRAME:
        return SBR
    return AAC  # layer II's filter bank and AC-3's transform reach into the frame before, too
