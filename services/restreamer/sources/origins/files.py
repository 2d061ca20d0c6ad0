"""File objects for demuxers: an origin's bytes in blocks, or in sequence when nothing else is possible."""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Generator
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits, Stopped
from services.restreamer.sources.origins.origin import Origin

HEAD: Final = 1 << 12
MOST_RUNS: Final = 3  # open answers per file


class Readable(Protocol):
    """A file that a demuxer reads; a seekable one has `seek` and `tell`, too."""

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; return none at the end."""
        ...

    def head(self) -> bytes:
        """Return the file's first bytes, at most HEAD, without consuming them."""
        ...

    def close(self) -> None:
        """Release its resources."""
        ...


class _Run:
    """An answer being read: `at` is the offset of its next byte, `end` the offset after its last."""

    def __init__(self, origin: Origin, at: int, end: int) -> None:
        self.at, self.end = at, end
        self._pieces = origin.stream(at, end)
        self._rest = b""

    def take(self, most: int) -> bytes:
        """Return the next bytes, which may be none yet; raise SourceError when the origin ends before its size."""
        come = self._rest or next(self._pieces, None)
        if come is None:
            raise SourceError("the file ends before its size", lasting=False)
        piece, self._rest = come[:most], come[most:]
        self.at += len(piece)
        if self.at == self.end:
            next(self._pieces, None)  # frees the connection for the next answer
        return piece

    def close(self) -> None:
        """Close the answer."""
        if isinstance(self._pieces, Generator):
            self._pieces.close()


class BlockFile:
    """Random access to an origin of known size; returns bytes as soon as they come. Keeps the last blocks.

    A jump requests one block. Sequential reading requests all that follows, once: an open answer continues even after
    its URL has expired. A few answers stay open, because audio and video of an mp4 may be far apart.
    """

    def __init__(self, origin: Origin, limits: Limits) -> None:
        if origin.size is None:
            raise SourceError("the file's size is not told")
        self._origin = origin
        self._limits = limits
        self._size = origin.size
        self._blocks: OrderedDict[int, bytearray] = OrderedDict()  # each block's first bytes, or all of it
        self._runs: list[_Run] = []  # the most recently used last
        self._refused = False
        self._at = 0

    def read(self, size: int) -> bytes:
        """Read the bytes that have come from here on, within one block; return none at the end."""
        if self._at >= self._size:
            return b""
        number, offset = divmod(self._at, self._limits.block)
        while len(self._blocks.get(number, b"")) <= offset:
            self._extend(number)
        self._blocks.move_to_end(number)
        piece = bytes(self._blocks[number][offset : offset + size])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset, without reading."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        """Return the offset of the next byte to read."""
        return self._at

    def head(self) -> bytes:
        """Return the first bytes."""
        least = min(HEAD, self._limits.block, self._size)
        while len(self._blocks.get(0, b"")) < least:
            self._extend(0)
        return bytes(self._blocks[0][:HEAD]) if least else b""

    def hold(self) -> None:
        """Request at once the bytes that will be read from here on, because later the URL may have expired."""
        number = self._at // self._limits.block
        while self._have(number) == (number + 1) * self._limits.block:
            number += 1
        at = self._have(number)
        if at < self._size and all(run.at != at or run.at == run.end for run in self._runs):
            with contextlib.suppress(SourceError):  # the next read raises it
                self._ask(at, self._size)

    def close(self) -> None:
        """Close the origin."""
        while self._runs:
            self._runs.pop().close()
        self._origin.close()

    def _have(self, number: int) -> int:
        """Return the offset of a block's first missing byte."""
        return number * self._limits.block + len(self._blocks.get(number, b""))

    def _extend(self, number: int) -> None:
        """Read more of a block, or of the bytes shortly before it."""
        begin, at = number * self._limits.block, self._have(number)
        near = -1 if self._refused else begin - self._limits.ahead * self._limits.block
        run = next((run for run in reversed(self._runs) if run.at == at or near <= run.at < begin), None)
        if run is not None and run.at < run.end:
            self._take(run)
            return
        reads_on = run is not None or at > begin or number - 1 in self._blocks
        try:
            self._ask(at, self._size if reads_on else min(begin + self._limits.block, self._size))
        except Stopped:
            raise
        except SourceError:  # an open answer that leads there is read instead
            self._refused = True
            if not any(run.at < at < run.end for run in self._runs):
                raise

    def _ask(self, at: int, end: int) -> None:
        """Request bytes, and store the first of them."""
        run = _Run(self._origin, at, end)
        piece = run.take(self._left(at))
        self._runs = [other for other in self._runs if other.at < other.end and other.at != at]
        while len(self._runs) >= MOST_RUNS:
            self._runs.pop(0).close()
        self._runs.append(run)
        self._store(at, piece)

    def _take(self, run: _Run) -> None:
        """Read and store the next bytes of an answer."""
        self._runs.remove(run)  # a failed answer is useless
        at = run.at
        piece = run.take(self._left(at))
        self._runs.append(run)
        self._store(at, piece)

    def _left(self, at: int) -> int:
        """Return the number of bytes from an offset to its block's end."""
        return self._limits.block - at % self._limits.block

    def _store(self, at: int, piece: bytes) -> None:
        """Keep bytes in their block; drop them when the bytes before them are missing."""
        number, offset = divmod(at, self._limits.block)
        block = self._blocks.get(number) if offset else self._blocks.setdefault(number, bytearray())
        if block is not None and len(block) >= offset:
            block += piece[len(block) - offset :]
            self._blocks.move_to_end(number)
        while len(self._blocks) > self._limits.blocks:
            self._blocks.popitem(last=False)


class SequentialFile:
    """Reads an origin once from start to end."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._pieces = (piece for piece in origin.stream() if piece)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Read the bytes that have come."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def head(self) -> bytes:
        """Return the first bytes; call this before `read`."""
        while len(self._rest) < HEAD and (piece := next(self._pieces, b"")):
            self._rest += piece
        return self._rest[:HEAD]

    def close(self) -> None:
        """Close the origin."""
        self._origin.close()


class Identity(NamedTuple):
    """The identity of a file's content: writing to the file, or replacing it, changes this."""

    device: int
    number: int
    size: int
    changed_ns: int


class LocalFile:
    """A local file: the page cache does the work of blocks."""

    def __init__(self, handle: int) -> None:
        self._file = os.fdopen(handle, "rb", buffering=0)

    def read(self, size: int) -> bytes:
        """Read the next bytes."""
        try:
            return self._file.read(size) or b""
        except OSError as error:
            raise SourceError(f"the file cannot be read: {os.strerror(error.errno or 0)}") from error

    def identity(self) -> Identity:
        """Return the file's identity."""
        info = os.fstat(self._file.fileno())
        return Identity(info.st_dev, info.st_ino, info.st_size, max(info.st_mtime_ns, info.st_ctime_ns))

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Fill a buffer from an offset on, without moving the position; return the number of bytes."""
        try:
            return os.preadv(self._file.fileno(), [buffer], offset)
        except OSError as error:
            raise SourceError(f"the file cannot be read: {os.strerror(error.errno or 0)}") from error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek to an offset; raise SourceError when it is invalid, as in a broken index."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError) as error:
            raise SourceError("the file refers to an offset that it does not have") from error

    def tell(self) -> int:
        """Return the offset of the next byte to read."""
        return self._file.tell()

    def head(self) -> bytes:
        """Return the first bytes."""
        return os.pread(self._file.fileno(), HEAD, 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_all(file: Readable, most: int, within: timedelta | None = None) -> bytes:
    """Return a whole file of at most `most` bytes, read `within` about a time, and close it."""
    data = bytearray()
    began = time.monotonic()
    try:
        while piece := file.read(1 << 16):
            data += piece
            if within is not None and time.monotonic() - began > within.total_seconds():
                raise SourceError(f"it did not come within {within.total_seconds():g} s", lasting=False)
            if len(data) > most:
                raise SourceError(f"the file is larger than {most} bytes")
    finally:
        file.close()
    return bytes(data)
