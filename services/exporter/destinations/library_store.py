"""The library in the store: `library/<account>/<name>` in the bucket with the media."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from services.exporter.destinations.library import Seen
from shared.store import MediaStore
from shared.store.base import ObjectInfo, ObjectMissing
from shared.store.library import FOLDER, NAME, library_key


class StoreShelf:
    """Copies clips' files within the store, and removes them.

    No lock protects a name: an object is replaced atomically, and the copy that finishes last wins.
    """

    def __init__(self, store: MediaStore) -> None:
        self._store = store

    def exclusive(self, account: str, name: str) -> contextlib.AbstractContextManager[None]:
        """Lock nothing."""
        del account, name
        return contextlib.nullcontext()

    def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
        """Copy within the store; ObjectMissing when the clip's file is gone."""
        copy_key = library_key(account, name)
        store.copy(key, copy_key)
        return copy_key

    def holds(self, account: str, name: str, size: int) -> bool:
        """Return whether an object of this name and size is there."""
        info = self._store.info(library_key(account, name))
        return info is not None and info.size == size

    def remove(self, account: str, name: str, seen: Seen | None = None) -> None:
        """Remove a file if there is one; with `seen`, only that version of it."""
        self._remove(library_key(account, name), lambda info: seen in {None, Seen(info.version, info.modified_ms)})

    def expire(self, before_ms: int) -> int:
        """Remove the files that are older than a time (ms since the epoch; 0: none) and return their number."""

        def is_old(info: ObjectInfo) -> bool:
            return info.modified_ms < before_ms

        listed = self._store.list(FOLDER) if before_ms else ()
        keys = (info.key for info in listed if NAME.fullmatch(info.key.rpartition("/")[2]) and is_old(info))
        return sum(self._remove(key, is_old) for key in keys)

    def _remove(self, key: str, wanted: Callable[[ObjectInfo], bool]) -> bool:
        """Remove a file if `wanted` holds for it now: a listed file may have been replaced since.

        A file written between the check and the deletion stays, too, where the server supports the condition.
        """
        info = self._store.info(key)
        if info is None or not wanted(info):
            return False
        try:
            self._store.delete(key, version=info.version)
        except ObjectMissing:  # another file has its name now
            return False
        return True
