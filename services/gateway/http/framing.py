"""Finds where a request's parts end, so that the parser gets one part at a time and never more than its limit.

llhttp takes whatever it is fed: a quarter of a MiB of requests at once, or endless trailers. The framer runs before it
and cuts the received data (RFC 9112, sections 2.1, 6.3 and 7.1). It checks no syntax: that is the parser's work, and
the two must agree on where a request ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import Final

from shared.errors import ReelayError

KIB: Final = 1024
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of one connection and of all of them: bytes, counts and times."""

    head: int = 64 * KIB
    """Request line and headers."""
    target: int = 16 * KIB
    """The request's target alone."""
    fields: int = 100
    """Header lines."""
    chunk_line: int = 256
    """A chunk's size with its extensions."""
    chunks: int = 8192
    """Chunks of a body."""
    trailers: int = 8 * KIB
    """Trailers after the last chunk."""
    trailer_fields: int = 32
    """Trailer lines."""
    piece: int = 64 * KIB
    """Body bytes that are parsed at once."""
    drained: int = 256 * KIB
    """Bytes read and discarded after an answer, before the connection is closed."""
    kept: int = 64 * KIB
    """The rest of a body that the answer did not wait for: up to this size, the connection stays open."""
    idle: timedelta = timedelta(seconds=30)
    """Between two requests."""
    head_within: timedelta = timedelta(seconds=20)
    """From a connection, or the first byte of a later request, to the end of the head."""
    body_within: timedelta = timedelta(seconds=35)
    """From the end of the head to that of the body; the application itself gives up a little earlier."""
    rate_interval: timedelta = timedelta(seconds=10)
    """The interval of `rate_bytes`."""
    rate_bytes: int = 2 * KIB
    """Bytes of a body that must arrive in each `rate_interval`, unless it is complete or the server does not read."""
    drain_within: timedelta = timedelta(seconds=3)
    """From an answer to the end of the rest of its request."""
    stall_interval: timedelta = timedelta(seconds=60)
    """The interval of `stall_bytes`."""
    stall_bytes: int = 16 * KIB
    """Bytes of a waiting answer that the peer must read in each `stall_interval`, unless it reads all."""
    waiting: int = 2048
    """Connections that wait for a request or its rest; above this the oldest of the busiest network is closed."""
    waiting_each: int = 256
    """At most so many of these from one network: an IPv4 address, or a /64 of IPv6."""
    connections: int = 16_384
    """All connections; at most as many as the process may have open files."""


class Excess(ReelayError):  # noqa: N818  names what the request has
    """A limit is exceeded; the connection ends with this answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Part(Enum):
    HEAD = auto()
    LENGTH = auto()
    SIZE = auto()
    CHUNK = auto()
    TRAILERS = auto()
    WHOLE = auto()


class Framer:
    """Follows one connection's requests; `cut` finds the end of the next part, `body` takes a parsed head's headers."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.begin()

    def begin(self) -> None:
        """Start over with the next request's head."""
        self._part = _Part.HEAD
        self._bytes = self._lines = self._chunks = 0
        self._left = 0
        self._tail = b""
        self._line = b""

    @property
    def whole(self) -> bool:
        """Whether the request is complete."""
        return self._part is _Part.WHOLE

    @property
    def in_head(self) -> bool:
        """Whether the head is incomplete or has not started."""
        return self._part is _Part.HEAD

    @property
    def fresh(self) -> bool:
        """Whether no byte of the request has arrived."""
        return self._part is _Part.HEAD and not self._bytes

    @property
    def left(self) -> int | None:
        """Bytes of the body that are still to come; None when its end is not known."""
        return self._left if self._part is _Part.LENGTH else 0 if self.whole else None

    def body(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Set how the request's body is framed, from the headers of its parsed head."""
        length = 0
        self._part = _Part.LENGTH
        for name, value in headers:
            if name == b"transfer-encoding":
                self._part = _Part.SIZE  # the parser has refused any that does not end in `chunked` or has a length too
            elif name == b"content-length":
                length = int(value)
        if self._part is _Part.LENGTH:
            self._left = length
            if not length:
                self._part = _Part.WHOLE

    def cut(self, data: bytes, at: int) -> int:
        """Return where the part that starts at `at` ends, at most the end of the data; Excess above a limit."""
        if self._part is _Part.HEAD:
            limits = self._limits
            end, _ = self._block(data, at, limits.head, limits.fields + 1, "the request's head")
            return end
        if self._part is _Part.TRAILERS:
            limits = self._limits
            end, ended = self._block(data, at, limits.trailers, limits.trailer_fields, "what follows the body")
            if ended:
                self._part = _Part.WHOLE
            return end
        if self._part is _Part.SIZE:
            return self._size(data, at)
        end = min(len(data), at + self._left, at + self._limits.piece)
        self._left -= end - at
        if not self._left:
            self._part = _Part.WHOLE if self._part is _Part.LENGTH else _Part.SIZE
        return end

    def _block(self, data: bytes, at: int, most: int, most_lines: int, what: str) -> tuple[int, bool]:
        """Find the empty line that ends a block of lines, even when it is split over two reads."""
        seam = self._tail + data[at : at + 3]
        found = seam.find(_END)
        if found >= 0:
            end = at + found + len(_END) - len(self._tail)
        else:
            found = data.find(_END, at)
            end = found + len(_END) if found >= 0 else len(data)
        self._bytes += end - at
        self._lines += data.count(b"\n", at, end)
        if self._bytes > most:
            raise Excess(431, f"{what} has more than {most} bytes")
        if self._lines > most_lines + 1:
            raise Excess(431, f"{what} has more than {most_lines} lines")
        self._tail = (self._tail + data[at:end])[-3:]
        return end, found >= 0

    def _size(self, data: bytes, at: int) -> int:
        found = data.find(b"\n", at)
        end = found + 1 if found >= 0 else len(data)
        if len(self._line) + end - at > self._limits.chunk_line:
            raise Excess(400, f"a chunk's size takes more than {self._limits.chunk_line} bytes")
        self._line += data[at:end]
        if found < 0:
            return end
        self._chunks += 1
        if self._chunks > self._limits.chunks:
            raise Excess(413, f"the body has more than {self._limits.chunks} chunks")
        try:
            size = int(self._line.partition(b";")[0].strip() or b"x", 16)
        except ValueError:
            raise Excess(400, "a chunk's size is not a number") from None
        self._line = b""
        self._left = size + 2
        self._part = _Part.CHUNK
        if not size:
            self._part = _Part.TRAILERS
            self._bytes = self._lines = 0
            self._tail = b"\r\n"
        return end
