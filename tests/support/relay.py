"""A second address of this machine whose ports lead to a server on the first, so that what passes can be counted,
slowed down and cut; what is encrypted passes as it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

HOST = "127.0.0.2"
_PIECE = 8 << 10
_LAST_WORDS_S = 1.0


class Relay:
    """Relays connections to the same port of 127.0.0.1; `up` counts what clients sent."""

    def __init__(self) -> None:
        self.up = 0
        self.cut_at: int | None = None
        """Cut all connections once this much went up."""
        self.bytes_per_s: int | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._open:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", port, limit=_PIECE)
            self._open |= {writer, back}
            down = asyncio.ensure_future(self._pump(there, writer, up=False))
            await self._pump(reader, back, up=True)
            await asyncio.wait({down}, timeout=_LAST_WORDS_S)
            for one in (writer, back):  # a client that is gone answers nothing, and resets what still comes
                one.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        with suppress(OSError):
            while data := await source.read(_PIECE if self.bytes_per_s else 8 * _PIECE):
                if up:
                    self.up += len(data)
                    if self.bytes_per_s:
                        await asyncio.sleep(len(data) / self.bytes_per_s)
                    if self.cut_at is not None and self.up >= self.cut_at:
                        self.cut()
                        return
                sink.write(data)
                await sink.drain()
            sink.write_eof() if sink.can_write_eof() else None


@asynccontextmanager
async def relay(ports: Iterable[int]) -> AsyncIterator[Relay]:
    """Relay some ports of HOST."""
    here, tasks = Relay(), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(here.carry(reader, writer)))

    servers = []
    for port in ports:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)  # or the kernel takes MBs that nobody read
        sock.bind((HOST, port))
        servers.append(await asyncio.start_server(accept, sock=sock, limit=_PIECE))
    try:
        yield here
    finally:
        for server in servers:
            server.close()
        here.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
