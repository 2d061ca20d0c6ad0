"""A login at an FTP server, and what a delivery does with it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from asyncio import Future
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from services.exporter.destinations.ftp_control import Alive, Control, Reply, refusal
from services.exporter.destinations.ftp_data import DataLine, Tell
from services.exporter.destinations.remote import connect_beside
from shared.errors import DestinationFailed
from shared.security.netguard import Networks

Begin = Literal["fresh", "rest", "append"]
_EPSV: Final = re.compile(r"\((.)\1\1(\d{1,5})\1\)")  # RFC 2428
_PASV: Final = re.compile(r"\d+,\d+,\d+,\d+,(\d{1,3}),(\d{1,3})")  # RFC 1123, 4.1.2.6: the brackets may be missing
_HEX: Final = re.compile(r"\b[0-9a-fA-F]{32,64}\b")
_SIZE: Final = re.compile(r"size=(\d+)", re.IGNORECASE)
# How a server that asks for a resumed TLS session puts it: vsftpd, ProFTPD, FileZilla.
_NOT_RESUMED: Final = re.compile(r"reuse|resum", re.IGNORECASE)


@dataclass
class FtpSession:
    """One login. Names are relative to the current folder."""

    control: Control
    context: ssl.SSLContext | None
    allowed: Networks
    features: dict[str, str] = field(default_factory=dict)
    sizes: bool = True

    async def log_in(self, user: str, password: str) -> None:
        """Log in; a refused user or password is final."""
        reply = await self.control.ask(f"USER {user or 'anonymous'}")
        if reply.code == 331:
            reply = await self.control.ask(f"PASS {password or ('' if user else 'anonymous@')}")
        if reply.code == 332:
            raise DestinationFailed("login: the server asks for an ACCT, which is not supported", final=True)
        if not reply.worked:
            raise refusal("login", reply)

    async def prepare(self) -> None:
        """Ask what the server can, and set what every transfer needs: TLS of data, UTF-8 names, binary."""
        if self.context is not None:
            for command in ("PBSZ 0", "PROT P"):  # RFC 4217
                await self._want("TLS of data", command)
        reply = await self.control.ask("FEAT")
        if reply.worked:
            words = (line.strip(" -").partition(" ") for line in reply.lines)
            self.features = {word.upper(): rest for word, _, rest in words}
        if "UTF8" in self.features:
            await self.control.ask("OPTS UTF8 ON")  # many say that it is on always
        await self._want("binary mode", "TYPE I")

    async def _want(self, step: str, command: str) -> Reply:
        reply = await self.control.ask(command)
        if not reply.worked:
            raise refusal(step, reply)
        return reply

    async def enter(self, folders: Sequence[str], *, absolute: bool, made: list[str] | None = None) -> None:
        """Go to a folder, and make what is missing of it; `made` takes the names of what was made."""
        await self.find((), absolute=absolute)
        for number, folder in enumerate(folders):
            if await self.find((folder,), absolute=False) is None:
                continue
            making = await self.control.ask(f"MKD {folder}")  # refused, too, when another delivery has just made it
            refused = await self.find((folder,), absolute=False)
            if refused is not None:
                raise refusal(f"folder {'/'.join(folders[: number + 1])}", refused if making.worked else making)
            if making.worked and made is not None:
                made.append(folder)

    async def find(self, folders: Sequence[str], *, absolute: bool) -> Reply | None:
        """Go to a folder; return the reply that refused it, None when it is there."""
        if absolute:
            await self._want("the server's root folder", "CWD /")
        for folder in folders:
            reply = await self.control.ask(f"CWD {folder}")
            if not reply.worked:
                return reply
        return None

    async def leave(self, made: Sequence[str]) -> None:
        """Remove folders that `enter` has just made, the innermost first; those in use stay."""
        for folder in reversed(made):
            await self.control.ask("CDUP")
            await self.control.ask(f"RMD {folder}")

    async def size(self, name: str) -> int | None:
        """Return a file's size; None: there is none, or this server tells none (`sizes` is false then)."""
        reply = await self.control.ask(f"SIZE {name}")
        if reply.code == 213 and reply.lines[-1].strip().isdigit():
            return int(reply.lines[-1])
        if reply.unknown and "MLST" in self.features:
            reply = await self.control.ask(f"MLST {name}")
            found = _SIZE.search(" ".join(reply.lines)) if reply.worked else None
            return int(found[1]) if found else None
        if 400 <= reply.code < 500 and reply.code != 450:
            raise refusal("SIZE", reply)
        self.sizes = self.sizes and not reply.unknown
        return None

    async def delete(self, name: str) -> Reply:
        """Delete a file, if there is one."""
        return await self.control.ask(f"DELE {name}")

    async def rename(self, old: str, new: str) -> tuple[Reply, bool]:
        """Rename a file; return the reply that decided, and whether it is about the new name."""
        reply = await self.control.ask(f"RNFR {old}")
        return (await self.control.ask(f"RNTO {new}"), True) if reply.worked else (reply, False)

    def algorithm(self) -> str:
        """Return the best checksum that the server tells, as hashlib names it; empty: none."""
        offered = self.features.get("HASH", "").upper()  # draft-bryan-ftpext-hash
        for name, word, command in (
            ("sha256", "SHA-256", "XSHA256"),
            ("sha1", "SHA-1", "XSHA1"),
            ("md5", "MD5", "XMD5"),
        ):
            if word in offered.replace("*", "").split(";") or command in self.features:
                return name
        return ""

    async def checksum(self, name: str, algorithm: str, alive: Alive) -> str:
        """Return a file's checksum as the server computes it, in lower-case hex; empty: it would not."""
        command = f"X{algorithm.upper()}"
        if "HASH" in self.features:
            word = {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}[algorithm]
            command = "HASH" if (await self.control.ask(f"OPTS HASH {word}")).worked else command
        await self.control.stream.write(f"{command} {name}\r\n".encode())
        reply = await self.control.final_reply(alive)
        found = _HEX.findall(reply.lines[-1].replace(name, "")) if reply.worked else []
        return found[0].lower() if found else ""

    async def store(
        self, name: str, begin: tuple[Begin, int], chunks: AsyncIterator[bytes], tell: Tell
    ) -> Reply | None:
        """Upload from an offset; return the reply with which the server refused to begin, None when all was stored.

        Raise DestinationFailed once bytes were on their way, and OSError when the connections break.
        """
        way, offset = begin
        async with self._data() as line:
            if way == "rest":
                reply = await self.control.ask(f"REST {offset}")
                if not reply.worked:
                    return reply
            secured = self._secure(line)
            reply = await self.control.ask(f"{'APPE' if way == 'append' else 'STOR'} {name}")
            if not reply.worked:
                return reply
            broken = await self._fill(line, secured, chunks, tell)
            if broken is not None:
                line.close()  # or the server waits for more, and says nothing
            while reply.code < 200:
                ending = self.control.reply() if broken else self.control.final_reply(lambda: tell(line.taken()))
                reply = await ending
        if not reply.worked:
            raise self._explained("upload", reply, line)
        if broken is not None:
            raise broken
        return None

    async def _fill(
        self, line: DataLine, secured: Future[None] | None, chunks: AsyncIterator[bytes], tell: Tell
    ) -> OSError | None:
        """Send all chunks; return what broke the data connection: the server says why on the other one."""
        try:
            if secured is not None:
                await secured
            await line.send(chunks, tell)
            line.finish()
        except OSError as error:
            return error
        return None

    async def read(self, name: str, offset: int, most: int) -> bytes | None:
        """Return up to `most` bytes of a file from an offset; None when the server lets nobody read it.

        Where the file has more, the session is of no further use: some servers end it when a transfer is cut short.
        """
        async with self._data() as line:
            if offset and not (await self.control.ask(f"REST {offset}")).worked:
                return None
            secured = self._secure(line)
            reply = await self.control.ask(f"RETR {name}")
            if not reply.worked:
                return None
            if secured is not None:
                await secured
            found = await line.receive(most)
        if len(found) == most:
            return found
        while reply.code < 200:
            reply = await self.control.reply()
        if not reply.worked:
            raise self._explained("reading back", reply, line)
        return found

    @contextlib.asynccontextmanager
    async def _data(self) -> AsyncIterator[DataLine]:
        line = DataLine(await self._connected())
        try:
            yield line
        finally:
            line.close()

    async def _connected(self) -> socket.socket:
        """Connect to the port that EPSV tells or, where it tells none or that one is shut on the way, PASV.

        The address that PASV tells is never used (RFC 2577, 3).
        """
        reply = await self.control.ask("EPSV")
        found = _EPSV.search(reply.lines[-1]) if reply.code == 229 else None
        if found and 0 < int(found[2]) < 65536:
            with contextlib.suppress(OSError):  # some routers open only what they read in replies to PASV
                return await connect_beside(self.control.sock, int(found[2]), allowed=self.allowed)
        reply = await self.control.ask("PASV")
        pair = _PASV.search(reply.lines[-1]) if reply.code == 227 else None
        port = int(pair[1]) * 256 + int(pair[2]) if pair else int(found[2]) if found else 0
        if not 0 < port < 65536:
            raise refusal("data connection (EPSV, PASV)", reply, final=reply.code >= 500 or reply.worked)
        try:
            return await connect_beside(self.control.sock, port, allowed=self.allowed)
        except OSError as error:
            said = error.strerror or "timed out"
            hint = f"data connection: port {port} could not be reached (are the server's passive ports open?): {said}"
            raise DestinationFailed(hint) from error

    def _secure(self, line: DataLine) -> Future[None] | None:
        """Begin TLS on a data connection; some servers say that a transfer begins before it is done, others after."""
        if self.context is None:
            return None
        return line.secure(self.context, self.control.server_host, self.control.session)

    def _explained(self, step: str, reply: Reply, line: DataLine) -> DestinationFailed:
        if line.resumed is False and reply.code in {425, 450, 522, 534} and _NOT_RESUMED.search(str(reply)):
            step = f"{step}: TLS of the data connection did not resume that of the control connection"
            return refusal(f"{step}, which this server asks for and Python's ssl could not do here", reply, final=True)
        return refusal(step, reply)
