"""Files that are read again and again, in no order."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cachetools import LRUCache

from services.clipper.sealed_path import SealedPath

CLEAR_BYTES: Final = 64 << 20
"""So much of encrypted files is kept decrypted in memory; of a larger one, all of it, alone."""


class OpenFiles(LRUCache[Path, int]):
    """Descriptors of files, opened when they are asked for; the one that was used last is closed last.

    Use as a context manager. OSError for what cannot be opened, SegmentUnreadable for what cannot be decrypted.
    """

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self._clear: LRUCache[Path, bytes] = LRUCache(CLEAR_BYTES, lambda data: min(len(data), CLEAR_BYTES))

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """Return bytes of a file, fewer at its end."""
        if isinstance(path, SealedPath):
            return self._cleared(path)[offset : offset + size]
        return os.pread(self[path], size, offset)

    def into(self, path: Path, room: memoryview, offset: int) -> int:
        """Fill memory with bytes of a file; return how many there were."""
        if not isinstance(path, SealedPath):
            return os.preadv(self[path], [room], offset)
        piece = memoryview(self._cleared(path))[offset : offset + len(room)]
        room[: len(piece)] = piece
        return len(piece)

    def _cleared(self, path: SealedPath) -> bytes:
        data = self._clear.get(path)
        if data is None:
            data = self._clear[path] = path.clear()
        return data

    def __missing__(self, path: Path) -> int:
        while len(self) >= self.maxsize:  # before one more is open
            self.popitem()
        self[path] = descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return descriptor

    def popitem(self) -> tuple[Path, int]:
        """Take one out, and close it."""
        path, descriptor = super().popitem()
        os.close(descriptor)
        return path, descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear.clear()
        while self:
            self.popitem()
