"""The CRC of MPEG-2 sections (ISO/IEC 13818-1, annex A)."""

from __future__ import annotations

import zlib
from typing import Final

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc32(data: bytes) -> int:
    """Return the CRC; 0 for a section that includes its own.

    zlib's CRC has the same polynomial, but takes each byte's bits in reverse order and inverts the result.
    """
    return int(f"{zlib.crc32(data.translate(_REVERSED)) ^ 0xFFFFFFFF:032b}"[::-1], 2)
