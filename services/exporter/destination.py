"""The interface of destinations of files. Adapters are named for what they write to: library.py, stored.py."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.store import MediaStore


@dataclass(frozen=True, slots=True)
class Seen:
    """The version of a file that was looked at; a file delivered later under its name has another."""

    version: str
    modified_ms: int


class Destination(Protocol):
    """Where a user wants files delivered. Its calls block, so they run in threads.

    `locks`: `exclusive` keeps other deliveries out; where it does not, a delivery restores the file it overtook.

    Raises DestinationFailed when the destination itself fails, NotYet when another instance works on the same file.
    """

    locks: bool

    def exclusive(self, account: str, name: str) -> AbstractContextManager[None]:
        """Keep out every other delivery to the same name while the block runs."""
        ...

    def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
        """Copy an object of the store there atomically, over any file of that name; return its location."""
        ...

    def holds(self, account: str, name: str, size: int) -> bool:
        """Return whether a file of this name and size is there."""
        ...


class Shelf(Destination, Protocol):
    """A library: a destination whose files Reelay may remove."""

    def remove(self, account: str, name: str, seen: Seen | None = None) -> None:
        """Remove a file if there is one; with `seen`, only that version of it.

        NotYet while it is being delivered.
        """
        ...

    def expire(self, before_ms: int) -> int:
        """Remove the files that are older than a time (ms since the epoch; 0: none) and return their number."""
        ...
