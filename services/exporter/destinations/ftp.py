"""FTP, FTP with AUTH TLS (explicit) and FTPS (implicit): temporary name, resume, check, rename.

RFC 959, 2228, 2389, 2428, 3659, 4217. Tested with vsftpd, ProFTPD and rclone; docs/destinations.md says what differs.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from services.exporter.destinations.base import Order, SourceFile, Transfer
from services.exporter.destinations.ftp_check import Check, Digest, difference
from services.exporter.destinations.ftp_control import Control, Reply, refusal, told
from services.exporter.destinations.ftp_session import Begin, FtpSession
from services.exporter.destinations.remote import Remote, connect, read_url, temporary_name
from shared.errors import DestinationFailed
from shared.security.netguard import Networks
from shared.security.netguard.resolve import Lookup
from shared.security.netguard.tls import trusting

SCHEMES: Final = frozenset({"ftp", "ftps"})
_PROBE: Final = b"A test of credentials; it may be deleted.\n"


@dataclass(frozen=True, slots=True)
class FtpMaker:
    """Makes destinations of ftp:// and ftps:// URLs; `ca_file` is the operator's file of authorities, or empty."""

    allowed: Networks
    ca_file: str = ""
    lookup: Lookup | None = None

    def __call__(self, order: Order) -> FtpDestination:
        """Return the destination; raise DestinationFailed (final)."""
        return FtpDestination(order, self)


class FtpDestination:
    """One file at an FTP server."""

    def __init__(self, order: Order, maker: FtpMaker) -> None:
        self._maker = maker
        self._remote: Remote = read_url(order, SCHEMES, maker.allowed)
        self._temporary = temporary_name(order)
        tls = order.credential.record.tls if order.credential else ""
        scheme, port = self._remote.scheme, self._remote.port
        self._verified = "unverified" not in tls
        # Port 21 is never implicit; a user who writes ftps:// and 21 means AUTH TLS.
        explicit = tls == "explicit" or (scheme == "ftp" and tls == "unverified") or (scheme == "ftps" and port == 21)
        self._implicit = not explicit and (scheme == "ftps" or tls.startswith("implicit"))
        self._secured = explicit or self._implicit
        self._port = port or (990 if self._implicit else 21)
        self._where = f"{scheme}://{self._remote.host}:{self._port}"

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Deliver the file and return its location; see Destination.put."""
        async with self._session() as session:
            await self._enter(session)
            digest = Digest.of(file, session)
            if await self._upload(session, file, transfer, digest):
                await self._check(session, file, transfer, digest)
                await self._take_name(session)
            await transfer.sent(file.size)
        return self._remote.location

    async def holds(self, file: SourceFile) -> bool:
        """Return whether the final name holds this file: by size, and by checksum or the bytes at both ends."""
        async with self._session() as session:
            if await session.find(self._remote.folders, absolute=self._remote.absolute) is not None:
                return False
            return not await difference(session, self._remote.name, file, Digest.known(file, session), self._checking())

    async def discard(self, transfer: Transfer) -> None:  # noqa: ARG002  the name is known without a note
        """Remove the temporary file."""
        async with self._session() as session:
            if await session.find(self._remote.folders, absolute=self._remote.absolute) is None:
                await session.delete(self._temporary)

    async def test(self) -> None:
        """Log in, write a few bytes where the file is to go, and remove them."""
        name = f".reelay-test-{secrets.token_hex(8)}"
        async with self._session() as session:
            made: list[str] = []
            try:
                await session.enter(self._remote.folders, absolute=self._remote.absolute, made=made)
                refused = await session.store(name, ("fresh", 0), _once(_PROBE), _ignore)
                if refused is not None:
                    raise refusal("writing a file", refused)
                deleted = await session.delete(name)
                if not deleted.worked:
                    raise refusal("deleting a file (which replacing needs)", deleted)
            finally:
                await session.leave(made)

    async def _enter(self, session: FtpSession) -> None:
        await session.enter(self._remote.folders, absolute=self._remote.absolute)

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[FtpSession]:
        """Connect and log in; whatever breaks inside becomes DestinationFailed."""
        remote, maker = self._remote, self._maker
        with told(self._where, verified=self._verified):
            sock = await connect(remote.host, self._port, allowed=maker.allowed, lookup=maker.lookup)
            control = Control(sock, remote.host, remote.password)
            try:
                context = self._context() if self._secured else None
                greeting = await control.greeted(context if self._implicit else None)
                if not greeting.worked:
                    raise refusal("greeting", greeting)
                if context is not None and not self._implicit:
                    await self._upgrade(control, context)
                session = FtpSession(control, context, maker.allowed)
                await session.log_in(remote.user, remote.password)
                await session.prepare()
                yield session
                await control.quit_soon()
            finally:
                control.shut()

    def _context(self) -> ssl.SSLContext:
        context = trusting(self._maker.ca_file)
        if not self._verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def _upgrade(self, control: Control, context: ssl.SSLContext) -> None:
        """Begin TLS, or end: the password is never sent in clear where the user asked for TLS."""
        reply = await control.ask("AUTH TLS")
        if reply.code != 234:
            raise refusal("AUTH TLS", reply)
        await control.upgrade(context)

    async def _upload(self, session: FtpSession, file: SourceFile, transfer: Transfer, digest: Digest) -> bool:
        """Bring the temporary file to its full length; return whether it has to take the final name yet."""
        there = await session.size(self._temporary) if transfer.resume else None
        if there is None and transfer.resume:
            other = await difference(session, self._remote.name, file, Digest.known(file, session), self._checking())
            if not other:
                return False  # an earlier try came as far as the new name, and could not tell
        offset = there if there is not None and 0 < there <= file.size else 0
        await transfer.keep(self._temporary)
        if offset == file.size and offset:
            async for _ in digest.chunks(file, offset, self._checking(transfer, offset).alive):
                pass
            return True
        ways: list[tuple[Begin, int]] = [("rest", offset), ("append", offset)] if offset else []
        for way in ways:
            if await self._store(session, file, transfer, way, digest) is None:
                return True
        await session.delete(self._temporary)  # some servers let nobody write over a file
        refused = await self._store(session, file, transfer, ("fresh", 0), digest)
        if refused is not None:
            raise refusal("upload", refused)
        return True

    async def _store(
        self, session: FtpSession, file: SourceFile, transfer: Transfer, begin: tuple[Begin, int], digest: Digest
    ) -> Reply | None:
        start = begin[1]
        if start == 0 and begin[0] == "fresh":
            await transfer.sent(0)

        async def tell(taken: int) -> None:
            await transfer.sent(min(start + taken, file.size))

        chunks = digest.chunks(file, start, self._checking(transfer, start).alive)
        return await session.store(self._temporary, begin, chunks, tell)

    async def _check(self, session: FtpSession, file: SourceFile, transfer: Transfer, digest: Digest) -> None:
        """Compare what arrived with what was sent; what differs is removed, so that the next try begins anew."""
        wrong = await difference(session, self._temporary, file, digest, self._checking(transfer, file.size))
        if wrong:
            await session.delete(self._temporary)
            raise DestinationFailed(f"upload: the file at the server {wrong}")

    def _checking(self, transfer: Transfer | None = None, total: int = 0) -> Check:
        async def alive() -> None:
            if transfer is not None:
                await transfer.sent(total)

        @contextlib.asynccontextmanager
        async def again() -> AsyncIterator[FtpSession]:
            async with self._session() as session:
                await session.find(self._remote.folders, absolute=self._remote.absolute)
                yield session

        return Check(alive, again)

    async def _take_name(self, session: FtpSession) -> None:
        """Rename to the final name; where a server renames over nothing, delete what is there just before."""
        name = self._remote.name
        reply, about_name = await session.rename(self._temporary, name)
        if reply.worked:
            return
        if not about_name:  # nothing may be renamed here, or another exporter has just done it
            raise refusal("rename", reply, final=None if await session.size(self._temporary) is not None else False)
        if reply.code >= 500:
            deleted = await session.delete(name)
            if not deleted.worked:  # there was none, or it may not be touched
                raise refusal("rename", reply)
            reply, _ = await session.rename(self._temporary, name)
        if not reply.worked:
            raise refusal("rename", reply, final=False)


async def _ignore(_taken: int) -> None:
    """Tell nobody."""


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
