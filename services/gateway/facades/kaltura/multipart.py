"""multipart/form-data (RFC 7578), for what the API needs: the texts of fields, no files. Pure, bounded."""

from __future__ import annotations

import re
from typing import Final

MOST_PARTS: Final = 64
LARGEST_HEAD: Final = 4096
_BOUNDARY: Final = re.compile(r"""boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)
_NAME: Final = re.compile(rb"""(?:^|[\s;])name="([^"\r\n]{0,256})\"""", re.IGNORECASE)
_FILE: Final = re.compile(rb"""[\s;]filename\*?=""", re.IGNORECASE)


def fields_of(content_type: str, body: bytes) -> dict[str, str]:
    """Return the fields that are no files, the later of two of a name. ValueError with a text for people."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise ValueError("multipart without a boundary")
    mark = b"\r\n--" + (found[1] or found[2]).encode()
    pieces = (b"\r\n" + body).split(mark, MOST_PARTS + 2)
    if len(pieces) > MOST_PARTS + 2:
        raise ValueError(f"more than {MOST_PARTS} parts")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("multipart is not complete")
    read = (_field(piece) for piece in pieces[1:-1])
    return dict(field for field in read if field is not None)


def _field(piece: bytes) -> tuple[str, str] | None:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank or len(head) > LARGEST_HEAD:
        raise ValueError("a part has no head, or a long one")
    said = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition:")), b"")
    name = _NAME.search(said)
    if name is None:
        raise ValueError("a part has no name")
    if _FILE.search(said):
        return None
    try:
        return name[1].decode(), content.decode()
    except UnicodeDecodeError as error:
        raise ValueError("a part is not UTF-8") from error
