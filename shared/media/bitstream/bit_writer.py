"""Writing single bits and Exp-Golomb numbers, and escaping them into NAL units (H.264 7.4.1, HEVC 7.4.2)."""

from __future__ import annotations

import re

from shared.media.bitstream.bit_reader import BitReader

_NEEDS_ESCAPE = re.compile(rb"\x00\x00(?=[\x00-\x03])")


class BitWriter:
    """Collects bits, the most significant first."""

    def __init__(self) -> None:
        self._value = 0
        self._count = 0

    def bits(self, value: int, count: int) -> None:
        """Append `value` as `count` bits."""
        self._value = (self._value << count) | (value & ((1 << count) - 1))
        self._count += count

    def flag(self, value: bool) -> None:
        """Append one bit."""
        self.bits(int(value), 1)

    def ue(self, value: int) -> None:
        """Append an unsigned Exp-Golomb number (H.264 clause 9.1)."""
        self.bits(value + 1, 2 * (value + 1).bit_length() - 1)

    def copy(self, reader: BitReader, count: int) -> None:
        """Append the next `count` bits of `reader`."""
        self.bits(reader.bits(count), count)

    def aligned(self) -> bytes:
        """Return the bits, padded with ones to a whole byte (cabac_alignment_one_bit)."""
        padding = -self._count % 8
        return ((self._value + 1 << padding) - 1).to_bytes((self._count + padding) // 8, "big")

    def payload(self) -> bytes:
        """Return the bits, with a stop bit and padded with zeros to a whole byte (rbsp_trailing_bits)."""
        padding = -(self._count + 1) % 8
        value = ((self._value << 1) | 1) << padding
        return value.to_bytes((self._count + 1 + padding) // 8, "big")


def escape(payload: bytes) -> bytes:
    """Insert the emulation prevention bytes that a NAL unit needs."""
    return _NEEDS_ESCAPE.sub(b"\x00\x00\x03", payload)


def stop_bit_left(payload: bytes) -> int:
    """Return the number of bits from the stop bit of an unescaped NAL unit to its end, stop bit included."""
    value = int.from_bytes(payload, "big")
    return (value & -value).bit_length()


def bits_between(payload: bytes, left_before: int, left_after: int) -> tuple[int, int]:
    """Return the bits of `payload` read between `left_before` and `left_after` bits left: (value, count)."""
    count = left_before - left_after
    return (int.from_bytes(payload, "big") >> left_after) & ((1 << count) - 1), count
