"""The interface of a media store, for its users and adapters. All calls block: run them in threads."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.errors import Permanent, Unavailable

_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
LONGEST_KEY: Final = 512


class StoreFull(Unavailable):
    """No room is left; retry after retention or the operator has made some."""


class ObjectMissing(Permanent):
    """There is no object under this key."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's key and size in bytes; if the store knows them, its time of writing and the version of its bytes."""

    key: str
    size: int
    modified_ms: int = field(default=0, compare=False)
    version: str = field(default="", compare=False)


class MediaStore(ABC):
    """Objects under keys such as `live/<event>/<session>/<track>/00000000.m4s`; written once, read many times.

    Raises ObjectMissing, StoreFull, or Unavailable when the store does not answer.
    """

    @property
    def fetches(self) -> bool:
        """Whether objects are copied to this machine's disk while they are read or written as files."""
        return False

    @abstractmethod
    def begin(self, key: str) -> Path:
        """Return the local path to write an object to, piece by piece; its folder exists."""

    @abstractmethod
    def commit(self, key: str) -> None:
        """Turn the file written at `begin`'s path into the object, whole."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write a small object, atomically, replacing an older one."""

    @abstractmethod
    def get(self, key: str, *, limit: int = 64 << 20) -> bytes:
        """Read a small object; Permanent when it is larger than `limit` bytes."""

    @abstractmethod
    def read(self, key: str, offset: int, length: int, *, chunk: int = 1 << 18, version: str = "") -> Iterator[bytes]:
        """Read a range piece by piece; with a version, ObjectMissing when the object has changed."""

    @abstractmethod
    def info(self, key: str) -> ObjectInfo | None:
        """Look up an object; None when it is not there."""

    @abstractmethod
    def local(self, key: str) -> AbstractContextManager[Path]:
        """Return a context manager that yields a local file with the object's bytes, valid within the block."""

    @abstractmethod
    def copy(self, source: str, key: str) -> None:
        """Copy an object to another key, whole or not at all, replacing an older one."""

    @abstractmethod
    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a folder, in order of their keys, starting after the key `after`."""

    @abstractmethod
    def delete(self, key: str, *, version: str = "") -> None:
        """Remove an object; do nothing when it is not there.

        With a version, ObjectMissing when the object has changed or is gone. Not every S3 server supports the
        condition: check the version just before.
        """

    @abstractmethod
    def check(self, name: str, *, writes: bool) -> None:
        """Check that the store works: write an object of that name and read it back, or only list the store.

        Unavailable with a readable reason.
        """


def check_key(key: str) -> str:
    """Return the key unchanged; Permanent when it could leave its folder or is too long."""
    if len(key) > LONGEST_KEY or not _KEY.fullmatch(key):
        raise Permanent("not a store key")
    return key
