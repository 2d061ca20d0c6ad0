"""Whether a file at an FTP server is the one that was sent."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from services.exporter.destinations.base import SourceFile
from services.exporter.destinations.ftp_control import Alive
from services.exporter.destinations.ftp_session import FtpSession
from services.exporter.destinations.remote import SAMPLE

_SHORT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Check:
    """What a comparison needs besides: how to tell that the server is at work, and how to log in once more."""

    alive: Alive
    again: Callable[[], AbstractAsyncContextManager[FtpSession]]


@dataclass
class Digest:
    """The file's checksum in the algorithm that the server tells: known already, or computed as the file goes up."""

    algorithm: str = ""
    hex: str = ""
    _running: Any = None

    @classmethod
    def known(cls, file: SourceFile, session: FtpSession) -> Digest:
        """Return the checksum that is known without reading the file, which may be none."""
        return cls("sha256", file.sha256) if file.sha256 and session.algorithm() == "sha256" else cls()

    @classmethod
    def of(cls, file: SourceFile, session: FtpSession) -> Digest:
        """Return the file's checksum; computed by `chunks` where the server tells another than is known."""
        known = cls.known(file, session)
        return known if known.hex else cls(session.algorithm())

    async def chunks(self, file: SourceFile, start: int, alive: Alive) -> AsyncIterator[bytes]:
        """Yield the file's bytes from `start` on; where a checksum is to be computed, the others are read, too.

        `alive` is called meanwhile: nothing is sent.
        """
        if not self.algorithm or self.hex:
            async for chunk in file.chunks(start):
                yield chunk
            return
        at, running = 0, hashlib.new(self.algorithm, usedforsecurity=False)
        async for chunk in file.chunks(0):
            running.update(chunk)
            at += len(chunk)
            if at > start:
                yield chunk[max(len(chunk) - (at - start), 0) :]
            else:
                await alive()
        self.hex = running.hexdigest()


async def difference(session: FtpSession, name: str, file: SourceFile, digest: Digest, check: Check) -> str:
    """Return what is wrong with the file of a name; empty: nothing."""
    size = await session.size(name)
    if size is None and session.sizes:
        return "is not there"
    if size is not None and size != file.size:
        return f"has {size} bytes, and not {file.size}"
    if digest.hex:
        told = await session.checksum(name, digest.algorithm, check.alive)
        if told:
            return "" if told == digest.hex else f"has another {digest.algorithm}"
    return await _ends(session, name, file, check)


async def _ends(session: FtpSession, name: str, file: SourceFile, check: Check) -> str:
    """Compare the last bytes and the first, or a short file's all, where the server lets them be read."""
    start = 0 if file.size <= _SHORT else file.size - SAMPLE
    length = file.size - start
    found = await session.read(name, start, length + 1)
    if found is None:
        return "" if session.sizes else "tells neither its size nor its bytes"
    if found != await file.read(start, length):
        return "has other bytes than were sent"
    if start:
        async with check.again() as other:
            if await other.read(name, 0, SAMPLE) != await file.read(0, SAMPLE):
                return "has other bytes than were sent"
    return ""
