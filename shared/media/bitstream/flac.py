"""FLAC: what decodes a stream (STREAMINFO), and how many samples a frame has.

Sources: RFC 9639 (8.2 STREAMINFO, 9.1 frame header), "Encapsulation of FLAC in ISO Base Media File Format" (dfLa).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shared.media.bitstream.bit_reader import BitReader
from shared.media.bitstream.errors import BitstreamError

MARKER: Final = b"fLaC"
BLOCK_HEAD: Final = b"\x80\0\0\x22"
"""The header of a STREAMINFO that is the last metadata block."""
INFO_SIZE: Final = 34
LEAST_RATE: Final = 1000
"""Of what is sound, Hz: a frame of a lower rate would last minutes."""
_HEAD: Final = 4


class FlacInfo(NamedTuple):
    """A STREAMINFO: sample rate, channels, bits a sample, and its 34 bytes."""

    rate: int
    channels: int
    bits: int
    data: bytes


def read_info(record: bytes) -> FlacInfo:
    """Read STREAMINFO, alone or as a stream begins with it (marker and block header); BitstreamError."""
    if record[:4] == MARKER:
        record = record[8:] if record[4:5] in (b"\0", b"\x80") else b""
    data = bytes(record[:INFO_SIZE])
    if len(data) < INFO_SIZE:
        raise BitstreamError("no STREAMINFO of FLAC")
    bits = BitReader(data[10:18])
    rate, channels, depth = bits.bits(20), bits.bits(3) + 1, bits.bits(5) + 1
    if rate < LEAST_RATE:
        raise BitstreamError(f"FLAC of {rate} Hz")
    return FlacInfo(rate, channels, depth, data)


def flac_samples(frame: bytes) -> int:
    """Return the number of samples in each channel of a frame; 0 when it is not a frame."""
    if len(frame) < 6 or frame[0] != 0xFF or frame[1] & 0xFE != 0xF8:
        return 0
    code = frame[2] >> 4
    if code in (6, 7):  # the number lies behind the frame's own, which is coded as UTF-8 does
        first = frame[_HEAD]
        length = 1 if first < 0x80 else next((n for n in range(2, 8) if not first << n & 0x80), 0)
        size = frame[_HEAD + length : _HEAD + length + code - 5]
        return int.from_bytes(size, "big") + 1 if length and len(size) == code - 5 else 0
    if not code:
        return 0
    return 192 if code == 1 else 576 << code - 2 if code <= 5 else 256 << code - 8
