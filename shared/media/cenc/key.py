"""A content key, and the sizes that the scheme `cenc` gives (ISO/IEC 23001-7, 8.2 and 9.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

KEY_SIZE: Final = 16
KID_SIZE: Final = 16
IV_SIZE: Final = 8
"""The upper half of AES-CTR's counter block; the lower half counts a sample's blocks from 0."""


@dataclass(frozen=True, slots=True)
class ContentKey:
    """An AES-128 key and the id by which files name it; the key never shows in a log."""

    kid: bytes
    key: bytes = field(repr=False)
