"""Range requests and conditions: RFC 9110 sections 13.1 and 14, for one range."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from shared.errors import ReelayError

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE | re.ASCII)


class Unsatisfiable(ReelayError):  # noqa: N818  RFC 9110's word
    """The range lies outside the file: 416."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes to send: `length` from `offset` on; `part` when that is not the whole file."""

    offset: int
    length: int
    part: bool


def wanted(header: str | None, if_range: str | None, etag: str, size: int) -> ByteRange:
    """Return the bytes that answer a request; a malformed or multiple range is answered with the whole file."""
    whole = ByteRange(0, size, part=False)
    if header is None or (if_range is not None and if_range.strip() != etag):
        return whole
    match = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if match is None or not any(match.groups()):
        return whole
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable
        return ByteRange(size - length, length, part=True)
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return whole  # 14.1.1: an invalid range is ignored
    if start >= size:
        raise Unsatisfiable
    return ByteRange(start, end - start + 1, part=True)


def meets(header: str | None, etag: str) -> bool:
    """Return whether If-Match names the file (strong comparison); True without the header."""
    if header is None:
        return True
    tags = [tag.strip() for tag in header.split(",")]
    return "*" in tags or etag in tags


def matches(header: str | None, etag: str) -> bool:
    """Return whether If-None-Match names the file (weak comparison); False without the header."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags
