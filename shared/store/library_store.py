"""The library in a store in S3, beside the media."""

from __future__ import annotations

from collections.abc import Iterator

from shared.store.base import MediaStore, ObjectInfo
from shared.store.library import FOLDER, NAME, LibraryFile, library_key


class StoreLibrary:
    """Reads the library's objects in the media store; versions are the store's (ETag)."""

    def __init__(self, store: MediaStore) -> None:
        self._store = store

    def look(self, account: str, name: str) -> LibraryFile | None:
        """Ask for the object's head."""
        info = self._store.info(library_key(account, name)) if NAME.fullmatch(name) else None
        return None if info is None else _file(account, info)

    def page(self, account: str, after: str, count: int) -> list[LibraryFile]:
        """List files after a name."""
        found: list[LibraryFile] = []
        head = f"{FOLDER}/{account}"
        for info in self._store.list(head, after=library_key(account, after) if after else ""):
            if len(found) == count:
                break
            if NAME.fullmatch(info.key.removeprefix(f"{head}/")):
                found.append(_file(account, info))
        return found

    def read(self, file: LibraryFile, offset: int, length: int, *, chunk: int = 1 << 18) -> Iterator[bytes]:
        """Read the object on condition that its version is the same."""
        key = library_key(file.account, file.name)
        return self._store.read(key, offset, length, chunk=chunk, version=file.version)


def _file(account: str, info: ObjectInfo) -> LibraryFile:
    return LibraryFile(account, info.key.rpartition("/")[2], info.size, info.modified_ms, info.version)
