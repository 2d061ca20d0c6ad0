"""The files of a playlist, by URIs relative to its URL; the playlist is read again when its URLs have expired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.origins.answers import Refused
from services.restreamer.sources.origins.remote import HttpOrigin, resolved
from services.restreamer.sources.playlists.playlist import Bytes, Segment

Segments = tuple[Segment, ...]
Ask = Callable[[str, Bytes, bool], HttpOrigin]
_EXPIRED: Final = frozenset({401, 403, 404, 410})


class Listed:
    """The files of a playlist read from `where`. `ask` opens a URL, `read` returns the playlist's URL and segments."""

    def __init__(self, where: str, segments: Segments, ask: Ask, read: Callable[[], tuple[str, Segments]]) -> None:
        self._where, self._segments = where, segments
        self._ask, self._read = ask, read
        self._names: dict[str, str] = {}  # present URIs by the first ones
        self._carries = False  # all files are requested with the playlist's query
        self._vain = False  # reading the playlist again would not help

    def open(self, byte_range: Bytes, hurried: bool) -> HttpOrigin:
        """Open a file; raise SourceError."""
        try:
            return self._opened(byte_range, hurried=hurried)
        except Refused as error:
            if error.status not in _EXPIRED or not self._renew():
                raise
        return self._opened(byte_range, hurried=hurried)

    def _opened(self, byte_range: Bytes, *, hurried: bool) -> HttpOrigin:
        address = resolved(self._where, self._names.get(byte_range.uri, byte_range.uri))
        signed = with_query_of(self._where, address)
        first, other = (signed, address) if self._carries else (address, signed)
        try:
            return self._ask(first, byte_range, hurried)
        except Refused:
            if other == first:
                raise
        found = self._ask(other, byte_range, hurried)
        self._carries = not self._carries
        return found

    def _renew(self) -> bool:
        """Read the playlist again; return whether its URLs have changed."""
        if self._vain:
            return False
        self._vain = True
        try:
            where, segments = self._read()
        except Stopped:
            raise
        except SourceError:
            return False
        if [(s.start, s.duration) for s in segments] != [(s.start, s.duration) for s in self._segments]:
            return False
        names = dict(zip(_uris(self._segments), _uris(segments), strict=False))
        self._vain = where == self._where and names == (self._names or {name: name for name in names})
        self._where, self._names = where, names
        return not self._vain


def with_query_of(playlist: str, address: str) -> str:
    """Return a file's URL with the playlist's query, if the URL has none and is on the same server.

    Some servers require the token of the playlist's URL.
    """
    own, other = urlsplit(playlist), urlsplit(address)
    if not own.query or other.query or (own.scheme, own.netloc) != (other.scheme, other.netloc):
        return address
    return urlunsplit(other._replace(query=own.query))


def _uris(segments: Segments) -> Iterator[str]:
    for segment in segments:
        yield segment.bytes.uri
        yield segment.first.uri if segment.first is not None else ""
        yield segment.key.uri if segment.key is not None else ""
        yield segment.first_key.uri if segment.first_key is not None else ""
