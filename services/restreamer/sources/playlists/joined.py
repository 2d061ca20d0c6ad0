"""The bytes of a playlist's segments one after the other, up to the first missing one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.containers.sniff import is_page, is_playlist
from services.restreamer.sources.origins.origin import Origin
from services.restreamer.sources.playlists.playlist import NESTED, Bytes, Key, Segment

LONGEST_INIT: Final = 1 << 20
LONGEST_NAME: Final = 80
KEY: Final = 16
Opener = Callable[[Bytes], Origin]


class Missing(SourceError):  # noqa: N818  it names an event
    """Segment `number` of those joined is missing. `torn`: some of it was read. `init`: its init segment is missing."""

    def __init__(self, error: SourceError, number: int, *, torn: bool, init: bool) -> None:
        super().__init__(str(error), lasting=error.lasting)
        self.number, self.torn, self.init = number, torn, init


class _NestedError(SourceError):
    """A segment is a playlist."""


class Joined:
    """Segments one after the other, after their init segment. `missing` is the segment at which they ended."""

    ranged = False

    def __init__(self, segments: Sequence[Segment], opener: Opener, keys: dict[str, bytes]) -> None:
        self.size: int | None = None
        self.missing: Missing | None = None
        self._segments = segments
        self._opener = opener
        self._keys = keys
        self._open: Origin | None = None

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:  # noqa: ARG002  always everything
        """Yield all bytes; raise Missing."""
        given, init = False, False
        for number, segment in enumerate(self._segments):
            try:
                given, init = False, not number
                if init and segment.first is not None:
                    yield self._init(segment.first, segment.first_key)
                init = False
                pieces = self._bytes(segment.bytes, sealed=segment.key is not None)
                if segment.key is not None:
                    pieces = self._deciphered(pieces, segment.key, segment.sequence)
                for piece in pieces:
                    given = given or bool(piece)
                    yield piece
            except (Stopped, _NestedError):
                raise
            except SourceError as error:
                self.missing = Missing(error, number, torn=given, init=init)
                raise self.missing from error

    def close(self) -> None:
        """Close the open segment, if any."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _init(self, byte_range: Bytes, key: Key | None) -> bytes:
        """Return an init segment. A key before it encrypts it (RFC 8216, 4.3.2.4), but some servers do not."""
        data = bytearray()
        for piece in self._bytes(byte_range, sealed=key is not None):
            data += piece
            if len(data) > LONGEST_INIT:
                raise SourceError("the playlist's init segment (EXT-X-MAP) is too large")
        if key is None or bytes(data[4:8]) in {b"ftyp", b"styp", b"moov", b"free"}:
            return bytes(data)
        return b"".join(self._deciphered(iter([bytes(data)]), key, 0))

    def _bytes(self, byte_range: Bytes, *, sealed: bool) -> Iterator[bytes]:
        self._open = origin = self._opener(byte_range)
        begun = False
        try:
            start, length = byte_range.start, byte_range.length
            for piece in origin.stream(start, None if length is None else start + length):
                if not begun and piece and not sealed:
                    _check(piece)
                begun = begun or bool(piece)
                yield piece
        finally:
            origin.close()
        if not begun:
            raise SourceError("it is empty", lasting=False)

    def _deciphered(self, pieces: Iterator[bytes], key: Key, sequence: int) -> Iterator[bytes]:
        """Yield a decrypted segment: AES-128 in CBC mode with PKCS7 padding (RFC 8216, 4.3.2.4)."""
        if key.uri not in self._keys:
            self._keys[key.uri] = self._key(key.uri)
        vector = key.iv or sequence.to_bytes(KEY, "big")
        cipher = Cipher(algorithms.AES128(self._keys[key.uri]), modes.CBC(vector)).decryptor()
        last = b""
        for piece in pieces:
            last += cipher.update(piece)
            if len(last) > KEY:
                yield last[:-KEY]
                last = last[-KEY:]
        yield last[: -last[-1]] if last and 1 <= last[-1] < KEY else b""

    def _key(self, uri: str) -> bytes:
        try:
            secret = b"".join(self._bytes(Bytes(uri, 0, KEY), sealed=True))
        except Stopped:
            raise
        except SourceError as error:
            raise SourceError(f"its key ({name_of(uri)}): {error}", lasting=error.lasting) from error
        if len(secret) != KEY:
            raise SourceError(f"its key ({name_of(uri)}) has not 16 bytes")
        return secret


def name_of(uri: str) -> str:
    """Return the file name at the end of a URI, without possibly secret parts."""
    try:
        name = unquote(urlsplit(uri).path).rstrip("/").rsplit("/", 1)[-1]
    except ValueError:
        name = ""
    return "".join(c for c in name if c.isprintable())[:LONGEST_NAME] or "unnamed"


def _check(piece: bytes) -> None:
    if is_playlist(piece):
        raise _NestedError(NESTED)
    if is_page(piece):
        raise SourceError("a web page or JSON came in its place")
