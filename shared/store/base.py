"""What every store can do, for those who use one and for the adapters. All calls block: run them in threads."""

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
    """No room is left; worth another try when retention or the operator has made some."""


class ObjectMissing(Permanent):
    """There is no object under this key."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's key and size in bytes; where the store tells it, when it was written, and what names its bytes."""

    key: str
    size: int
    modified_ms: int = field(default=0, compare=False)
    version: str = field(default="", compare=False)


class MediaStore(ABC):
    """Objects under keys such as `live/<event>/<session>/<track>/00000000.m4s`; written once, read many times.

    Raises ObjectMissing, StoreFull, or Unavailable when the store does not answer.
    """

    @abstractmethod
    def begin(self, key: str) -> Path:
        """Return the local path to write an object to, piece by piece; its folder exists."""

    @abstractmethod
    def commit(self, key: str) -> None:
        """Make what was written under `begin` the object, whole."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write a small object, atomically, over what was there."""

    @abstractmethod
    def get(self, key: str, *, limit: int = 64 << 20) -> bytes:
        """Read a small object; Permanent when it is larger than `limit` bytes."""

    @abstractmethod
    def read(self, key: str, offset: int, length: int, *, chunk: int = 1 << 18, version: str = "") -> Iterator[bytes]:
        """Read a range piece by piece; with a version, ObjectMissing when the object is another by now."""

    @abstractmethod
    def info(self, key: str) -> ObjectInfo | None:
        """Look an object up; None when it is not there."""

    @abstractmethod
    def local(self, key: str) -> AbstractContextManager[Path]:
        """Return a local file with the object's bytes, to read from within the block."""

    @abstractmethod
    def copy(self, source: str, key: str) -> None:
        """Make an object of another one's bytes, whole or not at all, over what was there."""

    @abstractmethod
    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """List the objects below a folder, in the order of their keys, those behind a key."""

    @abstractmethod
    def delete(self, key: str, *, version: str = "") -> None:
        """Remove an object; nothing happens when it is not there.

        With a version, ObjectMissing when the object is another by now, or gone. Not every S3 server knows the
        condition: look just before.
        """

    @abstractmethod
    def check(self, name: str, *, writes: bool) -> None:
        """Look whether the store works: by an object of that name that is written and read back, or by a look into it.

        Unavailable says in words what is wrong.
        """


def check_key(key: str) -> str:
    """Return the key back; Permanent when it could leave its folder or is too long."""
    if len(key) > LONGEST_KEY or not _KEY.fullmatch(key):
        raise Permanent("not a store key")
    return key
