"""Files that are read again and again, in no order."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from cachetools import LRUCache


class OpenFiles(LRUCache[Path, int]):
    """Descriptors of files, opened when they are asked for; the one that was used last is closed last.

    Use as a context manager. OSError for what cannot be opened.
    """

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
        while self:
            self.popitem()
