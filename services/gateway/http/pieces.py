"""Streams a generator's bytes into an answer: each piece is read in a thread, and the end waits for no thread.

A client may disconnect while the next piece is being read. Then the generator runs in its thread, and no other may
close it (`ValueError: generator already executing`): the last of the two closes it, the thread or the answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator


class _Reader:
    """Reads in one thread at a time, and closes the generator once nobody reads."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._reading = threading.Lock()
        self._left = False

    def next(self) -> bytes:
        """Return the next piece, empty at the end; blocks."""
        with self._reading:
            piece = b"" if self._left else next(self._pieces, b"")
        if self._left:  # during this read
            self.leave()
        return piece

    def leave(self) -> None:
        """Close the generator unless a thread reads it, which then does so; never blocks."""
        self._left = True
        if self._reading.acquire(blocking=False):
            try:
                if isinstance(self._pieces, Generator):
                    self._pieces.close()
            finally:
                self._reading.release()


async def in_threads(first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `first`, which has been read already, and the rest; `pieces` is closed soon after that ends."""
    reader = _Reader(pieces)
    try:
        piece = first
        while piece:
            yield piece
            piece = await asyncio.to_thread(reader.next)
    finally:
        reader.leave()
