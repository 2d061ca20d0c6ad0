"""WebDAV (RFC 4918): a file is put under another name, checked, and moved to its own at once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from services.exporter.destinations.base import SourceFile, Transfer
from services.exporter.destinations.http_body import Reply
from services.exporter.destinations.http_server import WebFile, WebServer
from services.exporter.destinations.telling import waiting
from shared.errors import DestinationFailed

TAKEN: Final = frozenset({200, 201, 204})
REMOVED: Final = TAKEN | {202, 404, 410}
_NO_COLLECTION: Final = frozenset({404, 409})
_IS_THERE: Final = frozenset({200, 201, 301, 302, 405})
# Servers behind a proxy that ends TLS, or that know themselves by another name, refuse the absolute form.
_ABSOLUTE_REFUSED: Final = frozenset({400, 502})
_LENGTH: Final = re.compile(rb"<(?:[\w.-]+:)?getcontentlength\b[^<>]*>\s*([0-9]{1,18})\s*</")
_ASK_LENGTH: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><getcontentlength/></prop></propfind>'
)
_LONGEST_NAME: Final = 200
GONE: Final = 404
LOCKED: Final = 423
_LOCK_TRIES: Final = 6
LOCK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class DavDestination:
    """A file of a WebDAV server; `mark` tells this delivery's temporary name from others'."""

    server: WebServer
    at: WebFile
    mark: str
    content_type: str = ""

    @property
    def _temporary(self) -> WebFile:
        folder, _, name = self.at.path.rpartition("/")
        return self.at.at(f"{folder}/{name[:_LONGEST_NAME]}.{self.mark}.tmp")  # .part is reserved in Nextcloud

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Send the file under a temporary name, check it, and move it over the final one."""
        at_hand = json.dumps({"whole": True, "size": file.size, "sha256": file.sha256})
        if transfer.resume == at_hand:  # killed between the last byte and the move
            if await self._length(self._temporary) == file.size:
                return await self._move(file, transfer)
            if await self.holds(file):
                return self.at.shown
        await transfer.keep(json.dumps({"whole": False}))
        folder = self.at.path.rpartition("/")[0]
        if await self._lacks(folder):  # nginx takes the whole file, and then says 500
            await self._make(folder)
        reply = await self._sent(file, transfer)
        if reply.status in _NO_COLLECTION:
            await self._make(folder)
            reply = await self._sent(file, transfer)
        if reply.status not in TAKEN:
            raise self.server.fault(self.at, "PUT", reply)
        async with waiting(transfer, file.size):
            await self._check(self._temporary, file)
        await transfer.keep(at_hand)
        return await self._move(file, transfer)

    async def _sent(self, file: SourceFile, transfer: Transfer) -> Reply:
        content_type = self.content_type or file.content_type
        return await _unlocked(lambda: self.server.put(self._temporary, file, transfer, content_type))

    async def _move(self, file: SourceFile, transfer: Transfer) -> str:
        async with waiting(transfer, file.size):
            reply = await self._moved(self.at.url)
            if reply.status in _ABSOLUTE_REFUSED:
                reply = await self._moved(self.at.path)
            if reply.status not in TAKEN:
                fault = self.server.fault(self.at, "MOVE", reply)  # 404: another exporter has just moved it
                raise DestinationFailed(str(fault), final=fault.final and reply.status != GONE)
            await self._check(self.at, file)
        return self.at.shown

    async def _moved(self, to: str) -> Reply:
        return await _unlocked(lambda: self.server.ask("MOVE", self._temporary, destination=to, overwrite="T"))

    async def _make(self, path: str) -> None:
        """Make a collection, with those above it."""
        reply = await self.server.ask("MKCOL", self.at.at(f"{path}/"))
        if reply.status in _NO_COLLECTION and path:
            await self._make(path.rpartition("/")[0])
            reply = await self.server.ask("MKCOL", self.at.at(f"{path}/"))
        if reply.status not in _IS_THERE and path:
            raise self.server.fault(self.at.at(f"{path}/"), "MKCOL", reply)

    async def _lacks(self, path: str) -> bool:
        reply = await self.server.ask(
            "PROPFIND", self.at.at(f"{path}/"), _ASK_LENGTH, depth="0", content_type="application/xml"
        )
        return reply.status == GONE

    async def _check(self, at: WebFile, file: SourceFile) -> None:
        length = await self._length(at)
        if length != file.size:
            has = "does not have it" if length is None else f"has {length} of its {file.size} bytes"
            raise DestinationFailed(f"{self.at.shown}: the server took the file, but {has}")

    async def _length(self, at: WebFile) -> int | None:
        """Return a file's length, by PROPFIND or else by HEAD; None when it is not there."""
        reply = await self.server.ask("PROPFIND", at, _ASK_LENGTH, depth="0", content_type="application/xml")
        if reply.status == GONE:
            return None
        if reply.status == 207 and (found := _LENGTH.search(reply.body)):
            return int(found[1])
        reply = await self.server.ask("HEAD", at)
        if reply.status == GONE:
            return None
        if reply.status != 200:
            raise self.server.fault(self.at, "HEAD", reply)
        told = reply.fields.get("content-length", "")
        return int(told) if told.isdecimal() and len(told) < 19 else None

    async def holds(self, file: SourceFile) -> bool:
        """Return whether the final name holds a file of this size; WebDAV tells no checksum."""
        return await self._length(self.at) == file.size

    async def discard(self, transfer: Transfer) -> None:
        """Remove the temporary file."""
        if transfer.resume:
            await self._remove(self._temporary)

    async def test(self) -> None:
        """Write a small file into the folder, or the nearest one above it that is there, and remove it."""
        folder = self.at.path.rpartition("/")[0]
        while folder and await self._lacks(folder):
            folder = folder.rpartition("/")[0]
        test = self.at.at(f"{folder}/reelay-test-{token_hex(4)}.txt")
        reply = await self.server.ask("PUT", test, b"test", content_type="text/plain")
        if reply.status not in TAKEN:
            raise self.server.fault(self.at, "PUT", reply)
        await self._remove(test)

    async def _remove(self, at: WebFile) -> None:
        """Delete a file, if it is there; a 207 tells of what could not be deleted (RFC 4918, 9.6.1)."""
        reply = await _unlocked(lambda: self.server.ask("DELETE", at))
        if reply.status not in REMOVED:
            raise self.server.fault(self.at, "DELETE", reply)


async def _unlocked(ask: Callable[[], Awaitable[Reply]]) -> Reply:
    """Ask again for some seconds while the file is locked: by a PUT that broke off and that the server still holds."""
    for tries in range(_LOCK_TRIES):
        reply = await ask()
        if reply.status != LOCKED:
            break
        await asyncio.sleep(LOCK_S * 2**tries)
    return reply
