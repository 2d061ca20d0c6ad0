"""The library: the files that clips were delivered to, below DATA_DIR/library or in the store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

from services.gateway.domain.errors import no_such
from services.gateway.domain.soon import soon
from shared.broker.bus import Outbox
from shared.messages.exports import LibraryDelete
from shared.runtime.clock import Clock
from shared.store.library import Library, LibraryFile


class LibraryFiles:
    """Finds an account's files, reads them and requests their deletion."""

    def __init__(self, library: Library, outbox: Outbox, clock: Clock) -> None:
        self._library = library
        self._outbox = outbox
        self._clock = clock

    async def page(self, account: str, after: str, count: int) -> list[LibraryFile]:
        """Return up to `count` files in the order of their names, after a name."""
        return await asyncio.to_thread(self._library.page, account, after, count)

    async def get(self, account: str, name: str) -> LibraryFile:
        """Return a file; NotFound."""
        file = await asyncio.to_thread(self._library.look, account, name)
        if file is None:
            raise no_such("file")
        return file

    def read(self, file: LibraryFile, offset: int, length: int, *, chunk: int) -> Iterator[bytes]:
        """Read a file's bytes; ObjectMissing when it has been replaced. Blocks."""
        return self._library.read(file, offset, length, chunk=chunk)

    async def delete(self, account: str, name: str) -> bool:
        """Request a file's removal and return whether it is done already; NotFound."""
        seen = await self.get(account, name)
        file = hashlib.sha256(name.encode()).hexdigest()[:32]
        now = self._clock.now_ms()
        await self._outbox.emit(
            LibraryDelete(
                account=account, file=file, file_name=name, at_ms=now, version=seen.version,
                modified_ms=seen.modified_ms,
            )
        )  # fmt: skip

        async def is_gone() -> bool:
            return await asyncio.to_thread(self._library.look, account, name) != seen

        return await soon(is_gone)
