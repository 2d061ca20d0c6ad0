"""Reading single bits and Exp-Golomb numbers (ITU-T H.264 clause 9.1) from a few bytes of header."""

from __future__ import annotations

from shared.media.mp4.boxes import Mp4Error


class BitReader:
    """Reads bits of `data`, the most significant first; Mp4Error past the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def bits(self, count: int) -> int:
        """Read `count` bits as an unsigned number."""
        if count > self._left:
            raise Mp4Error("header ends in the middle of a field")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def flag(self) -> bool:
        """Read one bit."""
        return self.bits(1) == 1

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb number of at most 32 bits."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > 32:
                raise Mp4Error("Exp-Golomb number is too long")
        return (1 << zeros) - 1 + self.bits(zeros)

    def se(self) -> int:
        """Read a signed Exp-Golomb number."""
        number = self.ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)

    @property
    def left(self) -> int:
        """Return the number of bits not yet read."""
        return self._left


def unescape(nal: bytes) -> bytes:
    """Return a NAL unit without its emulation prevention bytes (H.264 7.4.1, HEVC 7.4.2)."""
    if b"\0\0\3" not in nal:
        return nal
    out = bytearray()
    at = 0
    while (hit := nal.find(b"\0\0\3", at)) >= 0:
        out += nal[at : hit + 2]
        at = hit + 3
    out += nal[at:]
    return bytes(out)
