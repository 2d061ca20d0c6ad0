"""What decodes an Opus stream: OpusHead (RFC 7845, 5.1) and the dOps box that MP4 has in its place.

dOps: "Encapsulation of Opus in ISO Base Media File Format", 4.3.2. It is in big endian, without a name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

from shared.media.bitstream.errors import BitstreamError

OPUS_RATE: Final = 48_000
_NAME: Final = b"OpusHead"
_FIXED: Final = "BBHIhB"
_SIZE: Final = 11


@dataclass(frozen=True, slots=True)
class OpusHead:
    """An identification header; `mapping` is the channel mapping table, which family 0 has not."""

    channels: int
    preskip: int = 0
    rate: int = OPUS_RATE
    gain: int = 0
    family: int = 0
    mapping: bytes = b""

    @classmethod
    def read(cls, head: bytes) -> Self:
        """Read an OpusHead; BitstreamError."""
        if head[:8] != _NAME or len(head) < 8 + _SIZE or not head[9]:
            raise BitstreamError("not an OpusHead")
        return cls._read(head[8:], "<")

    @classmethod
    def read_dops(cls, content: bytes) -> Self:
        """Read a dOps box's content; BitstreamError."""
        if len(content) < _SIZE or not content[1]:
            raise BitstreamError("not a dOps box")
        return cls._read(content, ">")

    @classmethod
    def _read(cls, fields: bytes, order: str) -> Self:
        _, channels, preskip, rate, gain, family = struct.unpack_from(order + _FIXED, fields)
        mapping = fields[_SIZE : _SIZE + 2 + channels] if family else b""
        if family and len(mapping) < 2 + channels:
            raise BitstreamError("OpusHead's channel mapping is cut short")
        return cls(channels, preskip, rate, gain, family, bytes(mapping))

    def write(self) -> bytes:
        """Write it as an OpusHead."""
        return _NAME + self._write("<", 1)

    def write_dops(self) -> bytes:
        """Write it as a dOps box's content."""
        return self._write(">", 0)

    def _write(self, order: str, version: int) -> bytes:
        fixed = struct.pack(
            order + _FIXED, version, self.channels, self.preskip, self.rate, self.gain, self.family
        )  # fmt: skip
        return fixed + self.mapping
