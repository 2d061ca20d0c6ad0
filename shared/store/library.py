"""The library's files, for those who read them: a folder an account, or `library/` of a store in S3 (ADR 23)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from shared.runtime.settings import Settings
from shared.store.base import MediaStore, ObjectInfo, ObjectMissing
from shared.store.local import LocalStore
from shared.store.names import Names

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


def open_library(settings: Settings, store: MediaStore) -> Library:
    """Return the library beside a store: on this machine's disk when the store is."""
    return FolderLibrary(settings.library_dir) if isinstance(store, LocalStore) else StoreLibrary(store)


class StoreLibrary:
    """In the store, as media; versions are the store's (ETag)."""

    def __init__(self, store: MediaStore) -> None:
        self._store = store

    def look(self, account: str, name: str) -> LibraryFile | None:
        """Ask for the object's head."""
        info = self._store.info(library_key(account, name)) if NAME.fullmatch(name) else None
        return None if info is None else _file(account, info)

    def page(self, account: str, after: str, count: int) -> list[LibraryFile]:
        """List from behind a name on."""
        found: list[LibraryFile] = []
        head = f"{FOLDER}/{account}"
        for info in self._store.list(head, after=library_key(account, after) if after else ""):
            if len(found) == count:
                break
            if NAME.fullmatch(info.key.removeprefix(f"{head}/")):
                found.append(_file(account, info))
        return found

    def read(self, file: LibraryFile, offset: int, length: int, *, chunk: int = 1 << 18) -> Iterator[bytes]:
        """Read it on condition that it is the same."""
        key = library_key(file.account, file.name)
        return self._store.read(key, offset, length, chunk=chunk, version=file.version)


def _file(account: str, info: ObjectInfo) -> LibraryFile:
    return LibraryFile(account, info.key.rpartition("/")[2], info.size, info.modified_ms, info.version)


class FolderLibrary:
    """In `<root>/<account>/<name>`: plain files; links are none."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = Names(NAME)

    def look(self, account: str, name: str) -> LibraryFile | None:
        """Look at the file."""
        if not NAME.fullmatch(name):
            return None
        try:
            info = (self._root / account / name).lstat()
        except OSError:
            return None
        return _seen(account, name, info) if stat.S_ISREG(info.st_mode) else None

    def page(self, account: str, after: str, count: int) -> list[LibraryFile]:
        """Read the folder; a file that vanishes meanwhile is left out."""
        found: list[LibraryFile] = []
        for name in self._names.after(self._root / account, after):
            if (file := self.look(account, name)) is not None:
                found.append(file)
            if len(found) == count:
                break
        return found

    def read(self, file: LibraryFile, offset: int, length: int, *, chunk: int = 1 << 18) -> Iterator[bytes]:
        """Read the file; once opened, it stays the same when another takes its name."""
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
    """Name the bytes of a file in a folder."""
    return f"{info.st_dev}-{info.st_ino}-{info.st_size}-{info.st_mtime_ns}"
