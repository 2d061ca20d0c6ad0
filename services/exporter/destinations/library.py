"""The library as a destination, and what removes its files. Adapters: library_folder.py, library_store.py."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from services.exporter.destinations.base import Destination, Order, SourceFile, Transfer
from services.exporter.destinations.patience import patiently
from services.exporter.source import StoredFile
from shared.errors import DestinationFailed
from shared.store import MediaStore


@dataclass(frozen=True, slots=True)
class Seen:
    """The version of a file that was looked at; a file delivered later under its name has another."""

    version: str
    modified_ms: int


class Shelf(Protocol):
    """Where the library's files lie. Its calls block, so they run in threads.

    Raises DestinationFailed when it fails itself, NotYet when another instance works on the same file.
    """

    def exclusive(self, account: str, name: str) -> AbstractContextManager[None]:
        """Keep out every other delivery to the same name while the block runs, where the shelf can lock."""
        ...

    def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
        """Copy an object of the store there atomically, over any file of that name; return its location."""
        ...

    def holds(self, account: str, name: str, size: int) -> bool:
        """Return whether a file of this name and size is there."""
        ...

    def remove(self, account: str, name: str, seen: Seen | None = None) -> None:
        """Remove a file if there is one; with `seen`, only that version of it.

        NotYet while it is being delivered.
        """
        ...

    def expire(self, before_ms: int) -> int:
        """Remove the files that are older than a time (ms since the epoch; 0: none) and return their number."""
        ...


@dataclass(frozen=True, slots=True)
class LibraryDestination:
    """One name of an account in the library: a link or a copy made by the store itself, so nothing is ever resumed."""

    shelf: Shelf
    account: str
    name: str

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Copy the file within the store, or link it."""
        if not isinstance(file, StoredFile):
            raise DestinationFailed("the library takes files of the store only", final=True)
        location = await patiently(lambda: self._put(file), transfer, 0)
        await transfer.sent(file.size)
        return location

    def _put(self, file: StoredFile) -> str:
        with self.shelf.exclusive(self.account, self.name):
            return self.shelf.put(file.store, file.key, self.account, self.name)

    async def holds(self, file: SourceFile) -> bool:
        """Return whether a file of this name and size is there."""
        return await asyncio.to_thread(self.shelf.holds, self.account, self.name, file.size)

    async def discard(self, transfer: Transfer) -> None:
        """Do nothing: a copy leaves nothing, and that of a killed exporter goes with the next sweep."""
        del transfer

    async def test(self) -> None:
        """Do nothing: the library is Reelay's own."""


@dataclass(frozen=True, slots=True)
class LibraryMaker:
    """Makes the library's destinations."""

    shelf: Shelf

    def __call__(self, order: Order) -> Destination:
        """Return the destination."""
        return LibraryDestination(self.shelf, order.account, order.file_name)
