"""The library's files, for those who read them: a folder an account, or `library/` of a store in S3 (ADR 23)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

FOLDER: Final = "library"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """A file as it was looked at: other bytes under its name, another version."""

    account: str
    name: str
    size: int
    modified_ms: int
    version: str


class Library(Protocol):
    """Reads files. Its calls block: they run in threads. Unavailable when the store does not answer."""

    def look(self, account: str, name: str) -> LibraryFile | None:
        """Look a file up; None when there is none."""
        ...

    def page(self, account: str, after: str, count: int) -> list[LibraryFile]:
        """Return the first `count` files behind the name `after`, by name."""
        ...

    def read(self, file: LibraryFile, offset: int, length: int, *, chunk: int = 1 << 18) -> Iterator[bytes]:
        """Read a range of the file that was looked at; ObjectMissing when another has its name now."""
        ...


def library_key(account: str, name: str) -> str:
    """Return where a file lies in a store in S3."""
    return f"{FOLDER}/{account}/{name}"
