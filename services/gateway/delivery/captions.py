"""Whether a segment's pictures have captions: CEA-608 and 708, as HLS announces them.

Sources: ATSC A/53 part 4 (6.2.3), RFC 8216 (4.3.4.1, 4.3.4.2 CLOSED-CAPTIONS).
"""

from __future__ import annotations

from shared.errors import Unavailable
from shared.store.base import MediaStore, ObjectMissing

# Country, provider and identifier of a T.35 message with caption data: the same bytes in H.264, HEVC and AV1.
MARK = b"\xb5\x00\x31GA94\x03"
LOOKED_AT = 1 << 18
"""Bytes of a segment's beginning: its first picture's messages come before the picture, later ones not far behind."""


def has_captions(store: MediaStore, key: str, size: int) -> bool | None:
    """Return whether there are captions at a segment's beginning; None when it cannot be read just now."""
    try:
        return MARK in b"".join(store.read(key, 0, min(size, LOOKED_AT)))
    except (ObjectMissing, Unavailable):
        return None
