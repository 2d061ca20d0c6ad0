"""File objects that demuxers read: bytes of an origin in blocks, or in sequence where nothing else can be."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Final, Protocol

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits
from services.restreamer.sources.origin import Origin

HEAD: Final = 1 << 12


class Readable(Protocol):
    """What a demuxer reads from; one that can seek has `seek` and `tell`, too."""

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; nothing at the end."""
        ...

    def head(self) -> bytes:
        """Give the file's first bytes, at most HEAD of them, and leave them to be read."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class BlockFile:
    """Reads anywhere in an origin of known size. Keeps the last blocks; reading on takes several in one request."""

    def __init__(self, origin: Origin, limits: Limits) -> None:
        if origin.size is None:
            raise SourceError("the file's size is not told")
        self._origin = origin
        self._limits = limits
        self._size = origin.size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0

    def read(self, size: int) -> bytes:
        """Read what one block has from here on."""
        if self._at >= self._size:
            return b""
        number, offset = divmod(self._at, self._limits.block)
        piece = self._block(number)[offset : offset + size]
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte; nothing is read."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        """Tell the byte that is read next."""
        return self._at

    def head(self) -> bytes:
        """Give the first bytes."""
        return self._block(0)[:HEAD] if self._size else b""

    def close(self) -> None:
        """Close the origin."""
        self._origin.close()

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._fetch(number, self._limits.ahead if number - 1 in self._blocks else 1)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int, count: int) -> None:
        """Read blocks, in one go; SourceError when the origin ends before its size."""
        length = self._limits.block
        start, end = number * length, min((number + count) * length, self._size)
        data = b"".join(self._origin.stream(start, end))
        if len(data) != end - start:
            raise SourceError("the file ends before its size", lasting=False)
        for index in range(0, len(data), length):
            self._blocks[number + index // length] = data[index : index + length]
        while len(self._blocks) > self._limits.blocks:
            self._blocks.popitem(last=False)


class SequentialFile:
    """Reads an origin from its start to its end, once."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._pieces = (piece for piece in origin.stream() if piece)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Read what has come."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def head(self) -> bytes:
        """Give the first bytes, before anything is read."""
        while len(self._rest) < HEAD and (piece := next(self._pieces, b"")):
            self._rest += piece
        return self._rest[:HEAD]

    def close(self) -> None:
        """Close the origin."""
        self._origin.close()


class LocalFile:
    """A file of this machine: the page cache does what blocks do elsewhere."""

    def __init__(self, handle: int) -> None:
        self._file = os.fdopen(handle, "rb", buffering=0)

    def read(self, size: int) -> bytes:
        """Read from here on."""
        try:
            return self._file.read(size) or b""
        except OSError as error:
            raise SourceError(f"the file cannot be read: {os.strerror(error.errno or 0)}") from error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte; SourceError when there is none, as where a broken index leads."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError) as error:
            raise SourceError("the file refers to a place that it does not have") from error

    def tell(self) -> int:
        """Tell the byte that is read next."""
        return self._file.tell()

    def head(self) -> bytes:
        """Give the first bytes."""
        return os.pread(self._file.fileno(), HEAD, 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
