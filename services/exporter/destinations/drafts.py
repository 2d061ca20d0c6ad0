"""Drafts of files in a folder: locked while they are written, and named only when they are whole and on the disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from shared.errors import DestinationFailed, NotYet

BLOCK: Final = 1 << 20
_FINAL: Final = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
})  # fmt: skip
INSIDE: Final = os.O_NOFOLLOW | os.O_CLOEXEC


class Draft:
    """An open and locked draft; one delivery at a time has it. Its calls block; each ends before `close` closes it."""

    def __init__(self, folder: int, handle: int, name: str) -> None:
        self._folder = folder
        self._handle = handle
        self._name = name
        self._busy = threading.Lock()
        self._closed = False
        self._hash = hashlib.sha256()
        self._checked = 0
        self.size = os.fstat(handle).st_size

    @property
    def sha256(self) -> str:
        """The hash of what was checked and written."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close and unlock it."""
        with self._busy:
            if not self._closed:
                self._closed = True
                os.close(self._handle)
                os.close(self._folder)

    def lock(self) -> None:
        """Lock it; NotYet when another delivery has it, or has just ended with it."""
        hold(self._handle)
        try:
            there = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            same = os.path.samestat(there, os.fstat(self._handle))
        except FileNotFoundError:
            same = False
        if not same:
            raise NotYet("the file was being delivered elsewhere", timedelta(milliseconds=10))
        self.size = os.fstat(self._handle).st_size

    def keep(self, most: int) -> None:
        """Keep what an earlier try wrote, unless it is more than `most` bytes: then it is no part of the file."""
        with self._using():
            if self.size > most:
                os.ftruncate(self._handle, 0)
                self.size = self._checked = 0
                self._hash = hashlib.sha256()

    def check_more(self) -> bool:
        """Read some of what an earlier try wrote, for the hash; return whether there was any."""
        with self._using():
            block = os.pread(self._handle, min(BLOCK, self.size - self._checked), self._checked)
        self._hash.update(block)
        self._checked += len(block)
        return bool(block)

    def write(self, block: bytes) -> None:
        """Write the next bytes."""
        with self._using():
            done = 0
            while done < len(block):
                done += os.pwrite(self._handle, block[done:], self.size + done)
            self.size += len(block)
        self._hash.update(block)

    def finish(self, name: str) -> None:
        """Give the draft its final name, once it has reached the disk."""
        with self._using():
            os.fsync(self._handle)
            os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with self._busy, failing():
            if self._closed:
                raise NotYet("the delivery was stopped", timedelta(seconds=1))
            yield


def hold(handle: int) -> None:
    """Lock an open file for as long as it is open; NotYet when another delivery has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise NotYet("the file is being delivered elsewhere", timedelta(seconds=1)) from error


def unlink_unlocked(folder: int, name: str) -> None:
    """Remove a draft that nobody writes; NotYet when somebody does, FileNotFoundError."""
    handle = os.open(name, os.O_RDWR | INSIDE, dir_fd=folder)
    try:
        hold(handle)
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(handle)


@contextlib.contextmanager
def failing() -> Iterator[None]:
    """Turn errors of the operating system into the destination's."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise DestinationFailed(
            f"the export folder could not take the file: {reason}", final=error.errno in _FINAL
        ) from error
