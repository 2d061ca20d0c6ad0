"""What every destination of files can do. Adapters are named for what they touch: library.py, stored.py, ftp.py."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.store import MediaStore


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a file that was looked at; one that is delivered under its name later is another."""

    version: str
    modified_ms: int


class Destination(Protocol):
    """Where a user wants files. Its calls block: they run in threads.

    `locks` says that `exclusive` keeps others out; where it does not, a delivery puts right what it has overtaken.

    Raises DestinationFailed when the destination itself fails, Busy when another instance is at the same file.
    """

    locks: bool

    def exclusive(self, account: str, name: str) -> AbstractContextManager[None]:
        """Keep every other delivery to the same name out while the block runs."""
        ...

    def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
        """Put an object of the store there, whole or not at all, over what had its name; return where it lies."""
        ...

    def holds(self, account: str, name: str, size: int) -> bool:
        """Say whether a file of this name and size is there."""
        ...


class Shelf(Destination, Protocol):
    """A library: a destination whose files are ours to remove."""

    def remove(self, account: str, name: str, seen: Seen | None = None) -> None:
        """Remove a file, only the one that was seen if that is told; nothing happens when there is none.

        NotYet while it is being delivered.
        """
        ...

    def expire(self, before_s: float) -> int:
        """Remove the files that were made before a time (s since the epoch; 0: none); return how many."""
        ...
