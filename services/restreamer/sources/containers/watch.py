"""Find where a file's codecs change: FFmpeg's demuxers open another track there, without any notice.

A watch reads a file up to the change; the data after it is a separate file, `rest`, for another demuxer.
"""

from __future__ import annotations

import os
from typing import Final, Protocol

from services.restreamer.sources.flv.seek import Seekable
from services.restreamer.sources.origins.files import HEAD, Readable


def cut_off(held: bytearray, size: int) -> bytes:
    """Remove and return the first bytes of a buffer, without moving the others."""
    piece = bytes(memoryview(held)[:size])
    del held[:size]
    return piece


class Rest:
    """The data after a change: `head`, which was already read, and the rest of a file."""

    def __init__(self, head: bytes, file: Readable) -> None:
        self._head, self._file = bytearray(head), file

    def read(self, size: int) -> bytes:
        """Read the next bytes."""
        if self._head:
            return cut_off(self._head, size)
        return self._file.read(size)

    def head(self) -> bytes:
        """Return the first bytes; call this before `read`."""
        while len(self._head) < HEAD and (piece := self._file.read(HEAD)):
            self._head += piece
        return bytes(self._head[:HEAD])

    def close(self) -> None:
        """Leave the file open for its owner."""


class Finder(Protocol):
    """Searches a file's bytes in order for a change of codec."""

    def look(self, data: bytes | bytearray, base: int) -> int:
        """Check bytes that start at offset `base`; return the offset from which the next call needs them again."""
        ...

    @property
    def doubt(self) -> int | None:
        """The offset of a possible change, which later bytes confirm or refute."""
        ...

    @property
    def changed(self) -> str:
        """The kind of track that certainly changes at `doubt`; empty: none so far."""
        ...

    def head(self) -> bytes:
        """Return the bytes that must go before the data after a change."""
        ...

    def skip(self, to: int, *, known: bool = False) -> None:
        """Continue at another offset; `known`: a unit of the container certainly starts there."""
        ...


MOST_DOUBTED: Final = 8 << 20


class Watch:
    """Reads a file up to a change that a finder finds."""

    def __init__(self, file: Readable, finder: Finder) -> None:
        self._file, self._finder = file, finder
        self._at = self._looked = self._safe = 0  # offsets: next to read, next to check, end of the cleared bytes
        # Both grow and shrink at their ends only: bytes in doubt may be many, and come one by one.
        self._held = bytearray()  # read, but not returned yet; it ends at `_at`
        self._tail = bytearray()  # to be checked again; it ends at `_looked`
        self._over = False

    @property
    def file(self) -> Readable:
        """The file being read."""
        return self._file

    @property
    def changed(self) -> str:
        """The kind of track that changed; empty: none."""
        return self._finder.changed

    def read(self, size: int) -> bytes:
        """Read the next bytes; none from a change on."""
        while (room := self._room()) <= 0:
            if self._over or (self.changed and self.tell() == self._finder.doubt):
                return b""
            self._fill(size)
        return cut_off(self._held, min(size, room))

    def seekable(self) -> bool:
        """Return whether the file is seekable."""
        return isinstance(self._file, Seekable)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek to an offset of a seekable file."""
        assert isinstance(self._file, Seekable)  # noqa: S101  see `seekable`
        if whence == os.SEEK_CUR:
            offset, whence = self.tell() + offset, os.SEEK_SET
        self._held.clear()
        self._over = False
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        """Return the offset of the next byte to read."""
        return self._at - len(self._held)

    def head(self) -> bytes:
        """Return the file's first bytes."""
        return self._file.head()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rest(self) -> Rest:
        """Return the data after the change that was found."""
        doubt = self._finder.doubt
        assert doubt is not None  # noqa: S101  a change was found
        begin = self._looked - len(self._tail)
        if self._at != self._looked and isinstance(self._file, Seekable):  # a demuxer has read elsewhere meanwhile
            self._file.seek(self._looked)
        return Rest(self._finder.head() + bytes(self._tail[doubt - begin :]), self._file)

    def look_on(self, *, known: bool = False) -> None:
        """Check from the present offset on, after a demuxer's seek. `known`: a tag or a packet starts there."""
        self._looked = self._safe = self._at
        self._tail.clear()
        self._finder.skip(self._at, known=known)

    def _room(self) -> int:
        """Return how many bytes may be returned: up to a change, a possible change, or the end of the cleared bytes."""
        doubt, begin = self._finder.doubt, self.tell()
        if self._over and not self.changed:
            return len(self._held)
        ends = [self._safe] if begin <= self._looked else []
        if doubt is not None and begin <= doubt:
            ends.append(doubt)
        return min([len(self._held), *(end - begin for end in ends)])

    def _fill(self, size: int) -> None:
        data = self._file.read(size)
        self._held += data
        self._at += len(data)
        self._over = not data
        begin = self._at - len(data)
        if not data or begin > self._looked or self._at <= self._looked:
            return  # bytes read elsewhere, now and then, are not checked
        base = self._looked - len(self._tail)
        self._tail += memoryview(data)[self._looked - begin :]
        self._looked = self._at
        wanted = self._finder.look(self._tail, base)
        del self._tail[: max(wanted - base, 0)]
        self._safe = min(wanted, self._at)
