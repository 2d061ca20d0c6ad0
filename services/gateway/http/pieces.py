"""Bytes that a generator reads, for an answer: each piece in a thread, and an end that waits for no thread.

A client may leave while the next piece is being read. Then the generator runs in its thread, where nobody else may
close it (`ValueError: generator already executing`): whoever comes last closes it, the thread or the answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator


class _Reader:
    """Reads on in one thread at a time, and lets go of the generator once nobody reads."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._reading = threading.Lock()
        self._left = False

    def next(self) -> bytes:
        """Read a piece; blocks."""
        with self._reading:
            piece = b"" if self._left else next(self._pieces, b"")
        if self._left:  # in the middle of this
            self.leave()
        return piece

    def leave(self) -> None:
        """Let go; waits for nothing."""
        self._left = True
        if self._reading.acquire(blocking=False):
            try:
                if isinstance(self._pieces, Generator):
                    self._pieces.close()
            finally:
                self._reading.release()


async def in_threads(first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `first`, which has been read already, and the rest; whenever that ends, `pieces` is closed soon."""
    reader = _Reader(pieces)
    try:
        piece = first
        while piece:
            yield piece
            piece = await asyncio.to_thread(reader.next)
    finally:
        reader.leave()
