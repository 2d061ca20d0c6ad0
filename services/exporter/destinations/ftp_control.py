"""FTP's control connection: commands and replies (RFC 959), within limits that no server can overstep."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

import aioftp

from services.exporter.destinations.hidden import hidden
from services.exporter.destinations.remote import saying
from shared.errors import DestinationFailed

REPLY_S: Final = 60.0
PATIENT_S: Final = 900.0
"""How long a server may be silent once it has all: some copy a file to where it belongs before they answer."""
_SIGN_OF_LIFE_S: Final = 10.0
_LONGEST_LINE: Final = 8192
_MOST_LINES: Final = 500
_MOST_PRELIMINARY: Final = 100
GREETING_S: Final = 120.0
"""How long a server may take to be ready, with whatever it says meanwhile."""
_TRANSIENT: Final = frozenset({552})  # "exceeded storage allocation": how ProFTPD says that its disk is full
_BUSY: Final = ("maximum", "too many", "try again", "limit")
Alive = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's last reply to a command."""

    code: int
    lines: tuple[str, ...]

    @property
    def worked(self) -> bool:
        """Whether the command succeeded or is under way."""
        return self.code < 400

    @property
    def unknown(self) -> bool:
        """Whether the server does not know the command."""
        return self.code in {500, 501, 502, 504}

    def __str__(self) -> str:
        """Return code and text, fit to be shown."""
        return saying(f"{self.code} {' '.join(line.strip(' -') for line in self.lines)}")


def refusal(step: str, reply: Reply, *, final: bool | None = None) -> DestinationFailed:
    """Return the error for a reply of 400 or more; `final` where the step decides, and not the code."""
    said = str(reply)
    if final is None:
        busy = reply.code == 530 and any(word in said.lower() for word in _BUSY)
        final = reply.code >= 500 and reply.code not in _TRANSIENT and not busy
    return DestinationFailed(f"{step}: the server said: {said}", final=final)


class _Reader(asyncio.StreamReader):
    """A reader that can tell whether something waits to be read."""

    def waiting(self) -> bool:
        """Return whether bytes came that nobody has read."""
        return bool(vars(self)["_buffer"])


class Control(aioftp.Client):
    """A control connection over a socket that is connected already; aioftp sends, reads and parses."""

    def __init__(self, sock: socket.socket, host: str, secret: str) -> None:
        super().__init__()
        self.sock, self.server_host = sock, host
        self._secret = secret
        self._reader = _Reader(limit=_LONGEST_LINE)
        self._lines = 0
        self._preliminary = 0

    async def greeted(self, implicit: ssl.SSLContext | None) -> Reply:
        """Begin, and return the greeting; a server that says nothing may wait for TLS."""
        try:
            return await self._open(implicit)
        except TimeoutError as error:
            hint = "" if implicit else "; perhaps it expects TLS at once (ftps://, or tls: implicit)"
            raise DestinationFailed(f"the server sends no greeting{hint}") from error

    async def _open(self, implicit: ssl.SSLContext | None) -> Reply:
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self._reader)
        transport, _ = await loop.create_connection(
            lambda: protocol, sock=self.sock, ssl=implicit, server_hostname=self.server_host if implicit else None
        )
        writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        self._stream = aioftp.ThrottleStreamIO(self._reader, writer, throttles={"_": self.throttle})
        async with asyncio.timeout(GREETING_S):
            reply = await self.reply()
            while reply.code < 200:  # 120: ready in some minutes
                reply = await self.reply()
        return reply

    async def quit_soon(self) -> None:
        """Say goodbye, without waiting for an answer."""
        with contextlib.suppress(OSError):
            await self.stream.write(b"QUIT\r\n")

    def shut(self) -> None:
        """Close the connection at once, whatever state it is in."""
        if self._stream is None:
            self.sock.close()
        else:
            self._stream.writer.transport.abort()

    async def upgrade(self, context: ssl.SSLContext) -> None:
        """Go on in TLS, after the server agreed to it."""
        if self._reader.waiting():  # said in clear before TLS, by whoever: it would be taken for a protected reply
            raise DestinationFailed("AUTH TLS: the server sent more than its reply before TLS began", final=True)
        await self.stream.start_tls(context, self.server_host)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session, as a data connection has to resume it; None without TLS."""
        secured: ssl.SSLObject | None = self.stream.writer.get_extra_info("ssl_object")
        return secured.session if secured else None

    async def ask(self, command: str) -> Reply:
        """Send a command and return the reply to it."""
        if "\r" in command or "\n" in command:
            raise DestinationFailed("a command of FTP cannot hold a line break", final=True)
        await self.stream.write(f"{command}\r\n".encode())
        return await self.reply()

    async def reply(self) -> Reply:
        """Return the next reply; TimeoutError after REPLY_S."""
        async with asyncio.timeout(REPLY_S):
            return await self._next()

    async def final_reply(self, alive: Alive) -> Reply:
        """Return the reply that ends a transfer; `alive` is called while it takes its time."""
        waiting = asyncio.ensure_future(self._patient())
        try:
            while not (await asyncio.wait({waiting}, timeout=_SIGN_OF_LIFE_S))[0]:
                await alive()
        finally:
            waiting.cancel()
        return waiting.result()

    async def _patient(self) -> Reply:
        async with asyncio.timeout(PATIENT_S):
            reply = await self._next()
            while reply.code < 200:
                reply = await self._next()
            return reply

    async def _next(self) -> Reply:
        self._lines = 0
        code, info = await self.parse_response()
        self._preliminary = self._preliminary + 1 if int(code) < 200 else 0
        if self._preliminary > _MOST_PRELIMINARY:
            raise ValueError("nothing but preliminary replies")
        return Reply(int(code), tuple(hidden(line, (self._secret,)) for line in info))

    async def parse_line(self) -> tuple[aioftp.Code, str]:
        """Return the code and the rest of a line; aioftp's own sets no limit to them, and trips over Latin-1."""
        self._lines += 1
        if self._lines > _MOST_LINES:
            raise ValueError("endless reply")
        line = await self.stream.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("closed")
        text = line.decode(errors="replace").rstrip()
        return aioftp.Code(text[:3]), text[3:]


@contextlib.contextmanager
def told(where: str, *, verified: bool = True) -> Iterator[None]:
    """Turn what can happen to a connection into DestinationFailed."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        hint = f"{where}: the certificate is not accepted: {error.verify_message}"
        raise DestinationFailed(hint, final=verified) from error
    except ssl.SSLError as error:
        reason = (error.reason or "failed").replace("_", " ").lower()
        plain = (
            "; perhaps the server speaks TLS only after AUTH TLS (tls: explicit), or not at all"
            if "version" in reason
            else ""
        )
        raise DestinationFailed(f"{where}: TLS failed: {reason}{plain}") from error
    except TimeoutError as error:
        raise DestinationFailed(f"{where}: the server did not answer in time") from error
    except OSError as error:
        raise DestinationFailed(f"{where}: the connection broke: {error.strerror or 'closed by the server'}") from error
    except (aioftp.StatusCodeError, ValueError) as error:
        raise DestinationFailed(f"{where}: what answers there does not keep to FTP", final=True) from error
