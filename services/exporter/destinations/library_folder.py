"""The library on this machine: a folder per account below DATA_DIR, which the gateway serves."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.exporter.destinations.library import Seen
from shared.errors import DestinationFailed, NotYet
from shared.store import MediaStore
from shared.store.library_folder import folder_version
from shared.store.reserve import Reserve

LOCKS: Final = ".locks"


class FolderShelf:
    """Writes files to `<root>/<account>/<name>`, and removes them."""

    def __init__(self, root: Path, reserve: Reserve) -> None:
        self._root = root
        self._reserve = reserve

    def remove(self, account: str, name: str, seen: Seen | None = None) -> None:
        """Remove a file if there is one; with `seen`, only that version of it.

        NotYet while it is being delivered.
        """
        self._remove(account, name, lambda info: seen is None or seen.version == folder_version(info))

    def _remove(self, account: str, name: str, wanted: Callable[[os.stat_result], bool]) -> bool:
        """Remove a file if `wanted` holds for it, checked under its lock; return whether it was removed."""
        path = self._root / account / name
        with self.exclusive(account, name), _failing():
            try:
                if not wanted(path.stat()):
                    return False
            except FileNotFoundError:
                return False
            path.unlink(missing_ok=True)
            return True

    def expire(self, before_ms: int) -> int:
        """Remove the files that are older than a time (ms since the epoch; 0: none) and return their number.

        Locks and drafts that nobody holds are removed, too.
        """

        def is_old(info: os.stat_result) -> bool:
            return info.st_mtime_ns < before_ms * 1_000_000

        removed = 0
        for folder in self._root.glob("*/"):
            for path in folder.iterdir():
                with contextlib.suppress(FileNotFoundError, NotYet):
                    if path.is_file() and not path.name.startswith(".") and is_old(path.stat()):
                        removed += self._remove(folder.name, path.name, is_old)
            for lock in (folder / LOCKS).glob("*"):
                with contextlib.suppress(NotYet), _held(lock):
                    folder.joinpath(f".draft-{lock.name}").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty, or gone
                (folder / LOCKS).rmdir()
        return removed

    @contextlib.contextmanager
    def exclusive(self, account: str, name: str) -> Iterator[None]:
        """Hold a lock file; NotYet when another process holds it. The lock ends with its process.

        The file is removed on release. That of a killed process stays until the name is used again or `expire` runs.
        """
        with _held(self._root / account / LOCKS / _short(name)):
            yield

    def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
        """Link the file, or copy it from another file system, then rename it over any file of that name.

        StoreFull when a copy would leave too little room.
        A name has one draft, as `exclusive` admits one delivery at a time; a killed delivery's draft is overwritten.
        """
        target = self._root / account / name
        draft = target.with_name(f".draft-{_short(name)}")
        with store.local(key) as source, _failing():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                draft.unlink(missing_ok=True)
                self._link_or_copy(source, draft)
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
        return f"library/{account}/{name}"

    def _link_or_copy(self, source: Path, target: Path) -> None:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
                raise
            self._reserve.require(source.stat().st_size)
            shutil.copyfile(source, target)
            with target.open("rb") as file:
                os.fsync(file.fileno())

    def holds(self, account: str, name: str, size: int) -> bool:
        """Return whether a file of this name and size is there."""
        try:
            return (self._root / account / name).stat().st_size == size
        except OSError:
            return False


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with _failing():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotYet("the file is being delivered elsewhere", timedelta(seconds=1)) from error
        if not _is(path, handle):  # its last holder has removed it since it was opened
            raise NotYet("the file was being delivered elsewhere", timedelta(milliseconds=10))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before others can lock it, so that nobody locks an unlinked file
    finally:
        os.close(handle)


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _short(name: str) -> str:
    """Return the short name of a file's draft and lock: a name of 255 characters leaves no room for a prefix."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DestinationFailed(f"the library could not take the file: {os.strerror(error.errno or 0)}") from error
