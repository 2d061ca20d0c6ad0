"""The library in a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from shared.store.base import ObjectMissing
from shared.store.library import NAME, LibraryFile
from shared.store.names import Names


class FolderLibrary:
    """Reads plain files in `<root>/<account>/<name>`; links are ignored."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = Names(NAME)

    def look(self, account: str, name: str) -> LibraryFile | None:
        """Return the file's status; None when it is missing or no plain file."""
        if not NAME.fullmatch(name):
            return None
        try:
            info = (self._root / account / name).lstat()
        except OSError:
            return None
        return _seen(account, name, info) if stat.S_ISREG(info.st_mode) else None

    def page(self, account: str, after: str, count: int) -> list[LibraryFile]:
        """List the folder; leave out files that vanish meanwhile."""
        found: list[LibraryFile] = []
        for name in self._names.after(self._root / account, after):
            if (file := self.look(account, name)) is not None:
                found.append(file)
            if len(found) == count:
                break
        return found

    def read(self, file: LibraryFile, offset: int, length: int, *, chunk: int = 1 << 18) -> Iterator[bytes]:
        """Read the file; once opened, it stays the same even when another gets its name."""
        try:
            handle = os.open(self._root / file.account / file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise ObjectMissing(f"{file.name} is gone") from error
        with os.fdopen(handle, "rb", buffering=0) as opened:
            if folder_version(os.fstat(handle)) != file.version:
                raise ObjectMissing(f"{file.name} is another file now")
            opened.seek(offset)
            while length > 0 and (piece := opened.read(min(chunk, length))):
                length -= len(piece)
                yield piece


def _seen(account: str, name: str, info: os.stat_result) -> LibraryFile:
    return LibraryFile(account, name, info.st_size, info.st_mtime_ns // 1_000_000, folder_version(info))


def folder_version(info: os.stat_result) -> str:
    """Return the version of a file's bytes, from its status."""
    return f"{info.st_dev}-{info.st_ino}-{info.st_size}-{info.st_mtime_ns}"
