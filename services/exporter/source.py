"""The file that is delivered, read from the store by ranges in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from shared.errors import Unavailable
from shared.store import MediaStore
from shared.store.base import ObjectMissing

PIECE: Final = 1 << 18
AHEAD: Final = 8
"""Pieces that are read in one go while those before them are sent."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object of the store; with a version, reading fails when the object has been replaced meanwhile."""

    store: MediaStore
    key: str
    size: int
    sha256: str = ""
    content_type: str = "video/mp4"
    version: str = ""

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end; raise ObjectMissing, Unavailable."""
        length = min(length, max(0, self.size - offset))
        return await asyncio.to_thread(lambda: b"".join(self._pieces(offset, length)))

    async def chunks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset` on in pieces of up to 256 KiB; raise ObjectMissing, Unavailable."""
        reader = _Reader(self._pieces(offset, max(0, self.size - offset)))
        ahead = asyncio.ensure_future(asyncio.to_thread(reader.take))
        try:
            while pieces := await ahead:
                ahead = asyncio.ensure_future(asyncio.to_thread(reader.take))
                for piece in pieces:
                    yield piece
        finally:
            ahead.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for it now
            ahead.cancel()
            asyncio.get_running_loop().run_in_executor(None, reader.close)

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """Read a range; Unavailable when the object was written anew, so that the next try reads it from the start."""
        left = length
        try:
            for piece in self.store.read(self.key, offset, length, chunk=PIECE, version=self.version):
                left -= len(piece)
                yield piece
        except ObjectMissing as error:
            if self.store.info(self.key) is None:
                raise
            raise Unavailable("the file was written anew while it was read") from error
        if left:
            raise Unavailable("the store gave fewer bytes than the file has")


async def stored_file(store: MediaStore, key: str, *, sha256: str, size: int, content_type: str) -> StoredFile:
    """Return a file as it lies in the store now; raise ObjectMissing, Unavailable."""
    info = await asyncio.to_thread(store.info, key)
    if info is None:
        raise ObjectMissing("the file is no longer in the store")
    known = sha256 if info.size == size else ""
    return StoredFile(store, key, info.size, known, content_type, info.version)


class _Reader:
    """Takes pieces from an iterator that one thread at a time may use."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._lock = threading.Lock()

    def take(self) -> list[bytes]:
        with self._lock:
            return list(islice(self._pieces, AHEAD))

    def close(self) -> None:
        with self._lock:
            if close := getattr(self._pieces, "close", None):
                close()
