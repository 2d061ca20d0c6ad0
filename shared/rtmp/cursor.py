"""A cursor over bytes that enforces the limits of AMF values."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from shared.rtmp.errors import LimitExceeded, ProtocolError

Value = None | bool | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]
"""Any AMF value."""

_DOUBLE = struct.Struct(">d")


class Cursor:
    """A position in bytes; raises ProtocolError past the end, LimitExceeded for too deep or too many values."""

    __slots__ = ("data", "depth", "pos", "values")

    def __init__(self, data: bytes, *, depth: int, values: int) -> None:
        self.data = data
        self.pos = 0
        self.depth = depth
        self.values = values

    @property
    def left(self) -> int:
        """The number of remaining bytes."""
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
        """Read `size` bytes of UTF-8; invalid bytes are replaced."""
        return self.take(size).decode("utf-8", "replace")

    def count(self) -> None:
        """Count one more value; raises LimitExceeded past the limit."""
        self.values -= 1
        if self.values < 0:
            raise LimitExceeded("too many AMF values")

    def enter(self) -> None:
        """Enter a nested value; raises LimitExceeded past the depth limit."""
        self.depth -= 1
        if self.depth < 0:
            raise LimitExceeded("AMF values are nested too deep")

    def leave(self) -> None:
        """Leave a nested value."""
        self.depth += 1
