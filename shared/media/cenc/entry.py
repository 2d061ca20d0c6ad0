"""Sample entries of encrypted tracks: `encv` and `enca` with a `sinf` (ISO/IEC 14496-12, 8.12; 23001-7, 8.2)."""

from __future__ import annotations

import struct
from typing import Final

from shared.media.cenc.key import IV_SIZE, KID_SIZE
from shared.media.mp4.boxes import Box, Mp4Error, box, children, find, full_box, need, read_header, unpack

SCHEME: Final = b"cenc"
_VERSION: Final = 0x10000
VISUAL: Final = frozenset((b"avc1", b"avc3", b"hvc1", b"hev1", b"encv", b"av01", b"vp09"))
_BODY: Final = {True: 78, False: 28}
"""Bytes of a visual and of an audio sample entry before its child boxes."""
_NEEDLESS: Final = frozenset((b"sinf", b"free"))


def protected_entry(entry: bytes, kid: bytes) -> bytes:
    """Return a sample entry as that of an encrypted track."""
    kind = entry[4:8]
    tenc = full_box(b"tenc", 0, 0, struct.pack(">BBBB16s", 0, 0, 1, IV_SIZE, kid))
    scheme = full_box(b"schm", 0, 0, SCHEME, struct.pack(">I", _VERSION))
    sinf = box(b"sinf", box(b"frma", kind), scheme, box(b"schi", tenc))
    return box(b"encv" if kind in VISUAL else b"enca", entry[8:], sinf)


def unprotected_entry(entry: bytes) -> tuple[bytes, bytes]:
    """Return a sample entry as it was before it was protected, and the key's id; that is empty for a clear one.

    What the clear view of an init segment leaves of a `sinf` goes, too. Mp4Error for another scheme.
    """
    head = read_header(entry, 0, len(entry))
    if b"sinf" not in entry and b"free" not in entry:
        return entry, b""
    found = entry_boxes(entry, head)
    kept = b"".join(entry[child.start : child.end] for child in found if child.kind not in _NEEDLESS)
    front = entry[head.body : head.body + _BODY[head.kind in VISUAL]]
    sinf = next((child for child in found if child.kind == b"sinf"), None)
    if sinf is None:
        return box(head.kind, front, kept), b""
    return box(original(entry, sinf), front, kept), read_kid(entry, sinf)


def entry_boxes(data: bytes, head: Box) -> list[Box]:
    """Return the child boxes of a sample entry."""
    return list(children(data, head.body + _BODY[head.kind in VISUAL], head.end))


def original(data: bytes, sinf: Box) -> bytes:
    """Return the kind that a protected sample entry had."""
    frma = need(data, sinf, b"frma")
    if frma.end - frma.body != 4:
        raise Mp4Error("frma without a kind")
    return bytes(data[frma.body : frma.end])


def read_kid(data: bytes, sinf: Box) -> bytes:
    """Return the id of the key; Mp4Error for another scheme than ours."""
    schm, tenc = find(data, sinf, b"schm"), need(data, sinf, b"schi", b"tenc")
    if schm is None or data[schm.body + 4 : schm.body + 8] != SCHEME:
        raise Mp4Error("encrypted by a scheme that is not supported")
    protected, size, kid = unpack(f"xxBB{KID_SIZE}s", data, tenc.body + 4, tenc.end)
    if protected != 1 or size != IV_SIZE:
        raise Mp4Error("tenc of a kind that is not supported")
    return bytes(kid)
