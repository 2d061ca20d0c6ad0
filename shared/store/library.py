"""The library's files, for their readers: a folder per account, or `library/` of a store in S3 (ADR 23)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

FOLDER: Final = "library"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """A file as last seen: other bytes under its name have another version."""

    account: str
    name: str
    size: int
    modified_ms: int
    version: str


class Library(Protocol):
    """Reads files. Its calls block: run them in threads. Unavailable when the store does not answer."""

    def look(self, account: str, name: str) -> LibraryFile | None:
        """Look up a file; None when there is none."""
        ...

    def page(self, account: str, after: str, count: int) -> list[LibraryFile]:
        """Return the first `count` files after the name `after`, ordered by name."""
        ...

    def read(self, file: LibraryFile, offset: int, length: int, *, chunk: int = 1 << 18) -> Iterator[bytes]:
        """Read a range of a file; ObjectMissing when another file has its name now."""
        ...


def library_key(account: str, name: str) -> str:
    """Return a file's key in a store in S3."""
    return f"{FOLDER}/{account}/{name}"
