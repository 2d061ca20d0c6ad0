"""The library in the store: `library/<account>/<name>` in the bucket that has the media."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from services.exporter.destination import Seen
from shared.store import MediaStore
from shared.store.base import ObjectInfo, ObjectMissing
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
        copy_key = library_key(account, name)
        store.copy(key, copy_key)
        return copy_key

    def holds(self, account: str, name: str, size: int) -> bool:
        """Compare the size of what lies there."""
        info = self._store.info(library_key(account, name))
        return info is not None and info.size == size

    def remove(self, account: str, name: str, seen: Seen | None = None) -> None:
        """Remove a file, only the one that was seen if that is told; nothing happens when there is none."""
        self._remove(library_key(account, name), lambda info: seen in {None, Seen(info.version, info.modified_ms)})

    def expire(self, before_s: float) -> int:
        """Remove the files that were made before a time (s since the epoch; 0: none); return how many."""

        def is_old(info: ObjectInfo) -> bool:
            return info.modified_ms < before_s * 1000

        listed = self._store.list(FOLDER) if before_s else ()
        keys = (info.key for info in listed if NAME.fullmatch(info.key.rpartition("/")[2]) and is_old(info))
        return sum(self._remove(key, is_old) for key in keys)

    def _remove(self, key: str, wanted: Callable[[ObjectInfo], bool]) -> bool:
        """Remove a file that is wanted gone, by a look just before: one that was listed may have made room since.

        What comes between this look and the deletion stays, too, where the server knows the condition.
        """
        info = self._store.info(key)
        if info is None or not wanted(info):
            return False
        try:
            self._store.delete(key, version=info.version)
        except ObjectMissing:  # another has its name now
            return False
        return True
