"""The TCP connection under SSH, which gathers small writes: asyncssh makes two for each packet of 32 KiB."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from asyncssh.constants import MSG_IGNORE

_MOST: Final = 256 << 10


class _Gathering:
    """A transport that sends what is written in one turn of the loop at once, at the turn's end or when it is much."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._kept: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._kept:
            asyncio.get_running_loop().call_soon(self._flush)
        self._kept.append(data)
        self._size += len(data)
        if self._size >= _MOST:
            self._flush()

    def _flush(self) -> None:
        kept, self._kept, self._size = self._kept, [], 0
        if kept and not self._transport.is_closing():
            self._transport.write(b"".join(kept))

    def close(self) -> None:
        self._flush()
        self._transport.close()


class Wire:
    """Stands in asyncssh.connect's `tunnel` for a connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def create_connection(self, factory: Callable[[], Any], _host: str, _port: int) -> tuple[Any, Any]:
        """Return the transport and asyncssh's side of the connection.

        asyncssh puts an empty packet before each packet, which ciphers in CBC mode need (RFC 4253, 9.3.1). We offer
        none of these, and without them an upload takes half the packets.
        """

        def made() -> Any:
            connection = factory()
            begin = connection.connection_made
            connection.connection_made = lambda transport: begin(_Gathering(transport))
            send = connection.send_packet

            def send_packet(kind: int, *parts: bytes, **more: Any) -> None:
                if kind != MSG_IGNORE:
                    send(kind, *parts, **more)

            connection.send_packet = send_packet
            return connection

        return await asyncio.get_running_loop().create_connection(made, sock=self._sock)
