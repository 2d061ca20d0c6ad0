"""HTTP servers with a test's application, which count the bytes passed to their parser, and clients of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from services.gateway.http.framing import HttpLimits
from services.gateway.http.protocol import BoundedProtocol

HOUR = timedelta(hours=1)
PATIENT = HttpLimits(
    idle=HOUR, head_within=HOUR, body_within=HOUR, rate_interval=HOUR, drain_within=HOUR, stall_interval=HOUR
)
"""No timeout on a slow machine ends a connection; a test sets the timeouts that it is about."""
POST = b"POST /%s HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST % b"nothing" + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1 << 20
READ = 256 * 1024  # what one read of a socket returns at most


@dataclass
class Server:
    """A server with the test's application, and a record of what it did."""

    port: int
    begun: int = 0
    answered: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    connections: set[BoundedProtocol] = field(default_factory=set)
    parsed: int = 0
    parts: int = 0
    received: int = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer: /nothing at once, /held when the gate opens, /read with the size of the body."""
        self.begun += 1
        text = b"gone"
        if scope["path"] == "/held":
            await self.gate.wait()
            text = b"held"
        elif scope["path"] == "/read":
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                size, more = size + len(message["body"]), message["more_body"]
            text = b"%d" % size
        elif scope["path"] == "/large":
            text = b"x" * 8 * MIB
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 404 if text == b"gone" else 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})
        self.answered += 1

    async def call(self, *sent: bytes) -> Call:
        """Connect and send."""
        call = Call(*await asyncio.open_connection("127.0.0.1", self.port))
        for data in sent:
            call.writer.write(data)
        return call


@dataclass
class Call:
    """A client's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def status(self) -> int:
        """Read an answer with its body."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await self.reader.readexactly(int(length.partition(b":")[2]))
        return int(head.split()[1])

    async def flood(self, block: bytes, pause: float = 0) -> tuple[int, bytes]:
        """Send a block repeatedly until the server closes the connection; return the bytes sent, and its answer."""
        sent = 0
        async with asyncio.timeout(60):
            reading = asyncio.create_task(self._read_on())
            while not reading.done():
                self.writer.write(block)
                with contextlib.suppress(ConnectionError):
                    await self.writer.drain()
                await asyncio.sleep(pause)
                sent += len(block)
                assert sent < 64 * MIB, "it is never enough"
        self.writer.transport.abort()
        return sent, await reading

    async def _read_on(self) -> bytes:
        said = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65_536):
                said += data
        return said

    async def is_closed(self) -> None:
        """Wait until the server has closed."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                await self.reader.read()
        self.writer.close()


Serve = Callable[[HttpLimits], Awaitable[Server]]
