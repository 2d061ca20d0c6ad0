"""The CRC of MPEG-2 sections (ISO/IEC 13818-1, annex A)."""

from __future__ import annotations


def _table() -> tuple[int, ...]:
    rows = []
    for index in range(256):
        value = index << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        rows.append(value & 0xFFFFFFFF)
    return tuple(rows)


_CRC = _table()


def crc32(data: bytes) -> int:
    """Compute the CRC; 0 over a section that includes its own."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC[value >> 24 ^ byte]
    return value
