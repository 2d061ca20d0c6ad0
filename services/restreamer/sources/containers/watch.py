"""Where a file's codecs change: FFmpeg's demuxers open another track there, of which nobody would hear.

A watch reads a file up to there; what follows is a file of its own, `rest`, that another demuxer reads.
"""

from __future__ import annotations

import os
from typing import Final, Protocol

from services.restreamer.sources.flv.seek import Seekable
from services.restreamer.sources.origins.files import HEAD, Readable


def cut_off(held: bytearray, size: int) -> bytes:
    """Take bytes from the beginning of others, which are not moved for it."""
    piece = bytes(memoryview(held)[:size])
    del held[:size]
    return piece


class Rest:
    """What follows a change: `head`, which was read already, and the rest of a file."""

    def __init__(self, head: bytes, file: Readable) -> None:
        self._head, self._file = bytearray(head), file

    def read(self, size: int) -> bytes:
        """Read on."""
        if self._head:
            return cut_off(self._head, size)
        return self._file.read(size)

    def head(self) -> bytes:
        """Return the first bytes, before anything is read."""
        while len(self._head) < HEAD and (piece := self._file.read(HEAD)):
            self._head += piece
        return bytes(self._head[:HEAD])

    def close(self) -> None:
        """Leave the file open: it is its maker's."""


class Finder(Protocol):
    """Looks through a file's bytes in order."""

    def look(self, data: bytes | bytearray, base: int) -> int:
        """Look at bytes, which begin at `base`; tell from where on they are wanted again, with those that follow."""
        ...

    @property
    def doubt(self) -> int | None:
        """Where a change may be, which what follows has to tell."""
        ...

    @property
    def changed(self) -> str:
        """Name what changes at `doubt` for certain; empty: nothing so far."""
        ...

    def head(self) -> bytes:
        """Return what has to stand before what follows a change."""
        ...

    def skip(self, to: int, *, known: bool = False) -> None:
        """Go on with looking at another byte; it is `known` that a unit of the container begins there, or it is not."""
        ...


MOST_DOUBTED: Final = 8 << 20


class Watch:
    """Reads a file up to a change that a finder finds."""

    def __init__(self, file: Readable, finder: Finder) -> None:
        self._file, self._finder = file, finder
        self._at = self._looked = self._safe = 0  # where reading goes on, and looking; up to where all is clear
        # Grown and cut at their ends only: what is in doubt may be long, and come byte by byte.
        self._held = bytearray()  # read, and not given yet; it ends at `_at`
        self._tail = bytearray()  # as above, what is looked at again
        self._over = False

    @property
    def file(self) -> Readable:
        """The file that is read."""
        return self._file

    @property
    def changed(self) -> str:
        """Name what changed; empty: nothing."""
        return self._finder.changed

    def read(self, size: int) -> bytes:
        """Read on; nothing from a change on."""
        while (room := self._room()) <= 0:
            if self._over or (self.changed and self.tell() == self._finder.doubt):
                return b""
            self._fill(size)
        return cut_off(self._held, min(size, room))

    def seekable(self) -> bool:
        """Tell whether the file can be read anywhere."""
        return isinstance(self._file, Seekable)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, where the file is seekable."""
        assert isinstance(self._file, Seekable)  # noqa: S101  see `seekable`
        if whence == os.SEEK_CUR:
            offset, whence = self.tell() + offset, os.SEEK_SET
        self._held.clear()
        self._over = False
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        """Tell the byte that is read next."""
        return self._at - len(self._held)

    def head(self) -> bytes:
        """Return the file's first bytes."""
        return self._file.head()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rest(self) -> Rest:
        """Return what follows the change that was found."""
        doubt = self._finder.doubt
        assert doubt is not None  # noqa: S101  there is a change
        begin = self._looked - len(self._tail)
        if self._at != self._looked and isinstance(self._file, Seekable):  # a demuxer has looked elsewhere meanwhile
            self._file.seek(self._looked)
        return Rest(self._finder.head() + bytes(self._tail[doubt - begin :]), self._file)

    def look_on(self, *, known: bool = False) -> None:
        """Look from here on: a demuxer has gone elsewhere. `known`: to where a tag or a packet begins."""
        self._looked = self._safe = self._at
        self._tail.clear()
        self._finder.skip(self._at, known=known)

    def _room(self) -> int:
        """Count the bytes that may be given: those before a change, what may be one, and what is not looked at yet."""
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
            return  # what is read elsewhere, now and then, is left alone
        base = self._looked - len(self._tail)
        self._tail += memoryview(data)[self._looked - begin :]
        self._looked = self._at
        wanted = self._finder.look(self._tail, base)
        del self._tail[: max(wanted - base, 0)]
        self._safe = min(wanted, self._at)
