"""A TCP line to a server that a test cuts, slows down and counts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

BLOCK = 16 << 10


@dataclass
class Line:
    """Passes bytes on to a server. `cut_after`: so many bytes to it, all in all, then every connection breaks once.

    `hold_after`: so many bytes, and it stands still until `held` is set; `full` tells that it does.
    """

    target: int
    port: int = 0
    to_server: int = 0
    cut_after: int = 0
    rate: int = 0
    cuts: int = 0
    connections: int = 0
    held: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    hold_after: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def idle(self) -> bool:
        return not self._open

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, out = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, out}
        self._open |= pair
        try:
            await asyncio.gather(self._up(reader, out), self._down(there, writer))
        finally:
            self._open -= pair
            for each in pair:
                each.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(BLOCK):
                self.to_server += len(data)
                if self.hold_after and self.to_server > self.hold_after:
                    self.full.set()
                    await self.held.wait()
                if self.cut_after and self.to_server > self.cut_after:
                    self.cut()
                    return
                if self.rate:
                    await asyncio.sleep(len(data) / self.rate)
                out.write(data)
                await out.drain()
            if out.can_write_eof():
                out.write_eof()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await there.read(BLOCK):
                writer.write(data)
                await writer.drain()
            writer.close()

    def cut(self) -> None:
        """Break every connection now, and none after."""
        self.cut_after, self.cuts = 0, self.cuts + 1
        self.end()

    def end(self) -> None:
        """Break every connection."""
        for each in self._open:
            each.transport.abort()


@contextlib.asynccontextmanager
async def line(target: int, **how: int) -> AsyncIterator[Line]:
    """Run a line to a port of this machine."""
    made = Line(target, **how)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK)  # so that what is sent is soon what has arrived
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(made.serve, sock=listening)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.end()
