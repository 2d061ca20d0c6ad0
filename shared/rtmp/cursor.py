"""Bytes being read, with the limits that the reading may spend."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from shared.rtmp.errors import LimitExceeded, ProtocolError

Value = None | bool | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]
"""What AMF can say."""

_DOUBLE = struct.Struct(">d")


class Cursor:
    """A position in some bytes; reading past the end, too deep or too much raises."""

    __slots__ = ("data", "depth", "pos", "values")

    def __init__(self, data: bytes, *, depth: int, values: int) -> None:
        self.data = data
        self.pos = 0
        self.depth = depth
        self.values = values

    @property
    def left(self) -> int:
        """How many bytes remain."""
        return len(self.data) - self.pos

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        end = self.pos + count
        if count < 0 or end > len(self.data):
            raise ProtocolError("AMF value is cut short")
        part = self.data[self.pos : end]
        self.pos = end
        return part

    def number(self, size: int) -> int:
        """Read an unsigned big-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def double(self) -> float:
        """Read an IEEE 754 double."""
        return float(_DOUBLE.unpack(self.take(8))[0])

    def text(self, size: int) -> str:
        """Read `size` bytes of UTF-8; what is not UTF-8 is replaced."""
        return self.take(size).decode("utf-8", "replace")

    def count(self) -> None:
        """Note that one more value is read."""
        self.values -= 1
        if self.values < 0:
            raise LimitExceeded("too many AMF values")

    def enter(self) -> None:
        """Go into a value that holds values."""
        self.depth -= 1
        if self.depth < 0:
            raise LimitExceeded("AMF values are nested too deep")

    def leave(self) -> None:
        """Come out of it again."""
        self.depth += 1
