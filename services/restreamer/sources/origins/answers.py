"""Parse an HTTP server's answer about a file, and its body.

RFC 9110, 8.4 (Content-Encoding), 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range), 15.5.17 (416).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import httpx

from services.restreamer.model import SourceError
from services.restreamer.sources.origins.trouble import Broken

PIECE: Final = 1 << 18
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_AGAIN: Final = frozenset({408, 425, 429})
_NEVER: Final = frozenset({501, 505})
_REASONS: Final = {
    401: "access to it was refused",
    403: "access to it was refused",
    404: "it was not found",
    410: "it was not found",
}
_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class Refused(SourceError):  # noqa: N818  it names an event
    """The server refused the request, with `status`."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Version:
    """The identity of a file's state: its size, ETag and Last-Modified."""

    size: int | None
    tag: str
    changed: str

    def agrees(self, other: Version) -> bool:
        """Return whether nothing shows that the two differ. Servers behind one name may have different ETags."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return False
        if self.changed and other.changed:
            return self.changed == other.changed
        return not (self.tag and other.tag) or self.tag == other.tag


@dataclass(frozen=True, slots=True)
class Head:
    """The file's version in an answer, and whether the answer starts at the requested byte."""

    version: Version
    ranged: bool


def is_ok(response: httpx.Response) -> bool:
    """Return whether an answer holds the file."""
    return response.status_code in {200, 206}


def better_without_range(response: httpx.Response) -> bool:
    """Return whether to request the whole file: parts are refused, compressed, or of unknown size."""
    if response.status_code == 416:
        return True
    if response.status_code != 206:
        return False
    return coding_of(response) != "identity" or response.headers.get("content-range", "").endswith("/*")


def coding_of(response: httpx.Response) -> str:
    """Return the body's content coding: identity when it is not compressed."""
    return str(response.headers.get("content-encoding", "")).strip().lower() or "identity"


def _pause(after: str) -> timedelta:
    """Return the pause of a Retry-After header in seconds; none for any other."""
    return timedelta(seconds=int(after)) if after.isdecimal() and len(after) < 6 else timedelta()


def read_head(response: httpx.Response, start: int) -> Head:
    """Return what an answer says about the file; raise Broken when another try may succeed, or SourceError."""
    status, headers = response.status_code, response.headers
    tag, changed = headers.get("etag", ""), headers.get("last-modified", "")
    if status in _AGAIN or (status >= 500 and status not in _NEVER):
        raise Broken(f"it answered {status}", after=_pause(headers.get("retry-after", "")))
    coding = coding_of(response)
    if is_ok(response) and coding != "identity" and (coding not in _CODINGS or status == 206):
        raise Refused(f"it sends the file compressed ({coding[:32]})", status)
    if status == 206:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if found is None or int(found[1]) != start or int(found[2]) >= int(found[3]):
            raise Refused("it answers with another range than was asked for", status)
        return Head(Version(int(found[3]), tag, changed), ranged=True)
    if status == 200:
        length = headers.get("content-length", "") if coding == "identity" else ""
        return Head(Version(int(length) if length.isdecimal() else None, tag, changed), ranged=False)
    if status == 416:
        raise SourceError("the file is empty or has become shorter", lasting=False)
    raise Refused(f"{_REASONS.get(status, 'it cannot be had')} ({status})", status)


def body_of(response: httpx.Response, start: int, end: int | None) -> Iterator[bytes]:
    """Yield an answer's bytes from `start` to before `end`; a whole file's earlier bytes are skipped. Raise Broken."""
    skip = 0 if response.status_code == 206 else start
    left = None if end is None else end - start
    exact = response.headers.get("content-length") == str(left)
    for piece in _plain(response):
        wanted = piece[skip:]
        skip = max(skip - len(piece), 0)
        wanted = wanted if left is None else wanted[:left]
        if wanted:
            left = None if left is None else left - len(wanted)
        yield wanted  # also when it is empty: the reader sees that data came
        if left == 0 and not exact:  # reading an exact body to its end frees the connection for the next request
            return


def _plain(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body's bytes, decompressed, in pieces of bounded size."""
    if coding_of(response) == "identity":
        yield from response.iter_raw()
        return
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        for piece in response.iter_raw():
            data = piece
            while data and not unpacker.eof:
                yield unpacker.decompress(data, PIECE)
                data = unpacker.unconsumed_tail
    except zlib.error as error:
        raise SourceError("it sends the file compressed, and that cannot be unpacked") from error
    if not unpacker.eof:
        raise Broken("the connection broke")
