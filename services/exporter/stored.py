"""The library in the store: `library/<account>/<name>` in the bucket that has the media."""

from __future__ import annotations

import contextlib

from shared.store import MediaStore
from shared.store.library import FOLDER, NAME, library_key


class StoreShelf:
    """Has the store copy clips' files, and removes them.

    Nothing locks a name: an object is replaced whole, by whichever copy is done last.
    """

    locks = False

    def __init__(self, store: MediaStore) -> None:
        self._store = store

    def exclusive(self, account: str, name: str) -> contextlib.AbstractContextManager[None]:
        """Keep nobody out."""
        del account, name
        return contextlib.nullcontext()

    def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
        """Copy within the store; ObjectMissing when the clip's file is gone."""
        place = library_key(account, name)
        store.copy(key, place)
        return place

    def holds(self, account: str, name: str, size: int) -> bool:
        """Compare the size of what lies there."""
        info = self._store.info(library_key(account, name))
        return info is not None and info.size == size

    def remove(self, account: str, name: str) -> None:
        """Remove a file; nothing happens when there is none."""
        self._store.delete(library_key(account, name))

    def expire(self, before_s: float) -> int:
        """Remove the files that were made before a time (s since the epoch; 0: none); gives their number."""
        removed = 0
        for info in self._store.list(FOLDER) if before_s else ():
            if NAME.fullmatch(info.key.rpartition("/")[2]) and info.modified_ms < before_s * 1000:
                self._store.delete(info.key)
                removed += 1
        return removed
