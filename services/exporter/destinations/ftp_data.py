"""One data connection of FTP: a blocking socket in its own thread, so that TLS of a fast upload holds up nothing else.

TLS goes through the kernel-level socket, not through asyncio's streams: these cannot resume the control connection's
session (servers ask for that, so that nobody else takes the data port), and cost a third of the speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import socket
import ssl
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")
BATCH: Final = 1 << 20
_PIECE: Final = 64 << 10
_HANDSHAKE_S: Final = 30.0
_TOLD_EVERY_S: Final = 2.0
Tell = Callable[[int], Awaitable[None]]


class DataLine:
    """A connected data connection. `close` it in every case; that also ends what its thread is doing."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ftp-data")
        self._written = 0
        self._told = 0
        self._closed = False
        self.resumed: bool | None = None
        """Whether TLS resumed the control connection's session; None without TLS."""

    def secure(self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None) -> asyncio.Future[None]:
        """Begin the TLS handshake; the result may raise OSError (ssl's errors are among them)."""
        return self._start(lambda: self._secure(context, host, session))

    def _secure(self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None) -> None:
        self._sock.settimeout(_HANDSHAKE_S)
        sock = context.wrap_socket(self._sock, server_hostname=host, session=session, do_handshake_on_connect=False)
        self._sock = sock
        sock.do_handshake()
        sock.settimeout(None)
        self.resumed = bool(sock.session_reused)

    async def send(self, chunks: AsyncIterator[bytes], tell: Tell) -> None:
        """Send all chunks, the next being read while one is sent; `tell` is given the bytes that the server took."""
        sending: asyncio.Future[None] | None = None
        async for batch in _batches(chunks):
            if sending is not None:
                await self._settled(sending, tell)
            sending = self._start(partial(self._write, batch))
        if sending is not None:
            await self._settled(sending, tell)

    def _write(self, batch: bytes) -> None:
        view = memoryview(batch)
        for at in range(0, len(view), _PIECE):
            piece = view[at : at + _PIECE]
            self._sock.sendall(piece)
            self._written += len(piece)

    async def _settled(self, sending: asyncio.Future[None], tell: Tell) -> None:
        done = False
        while not done:
            done = bool((await asyncio.wait({sending}, timeout=_TOLD_EVERY_S))[0])
            taken = self.taken()
            if taken > self._told:  # else it may be stuck, which who watches it must see
                self._told = taken
                await tell(taken)
        sending.result()

    def taken(self) -> int:
        """Return how many bytes were acknowledged: what was written without what the kernel still holds."""
        try:
            held: int = struct.unpack("i", fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        except (OSError, ValueError):  # closed meanwhile
            return self._told
        return max(self._written - held, 0)

    def finish(self) -> None:
        """Say that all was sent; the thread then takes in what the server still says, until one side closes.

        The bytes that come must be read: a socket closed over unread bytes (TLS 1.3 tickets, say) resets the
        connection, and servers then lose the file's end (https://github.com/proftpd/proftpd/issues/2015).
        """
        self._start(self._finish)

    def _finish(self) -> None:
        if isinstance(self._sock, ssl.SSLSocket):
            self._notify(self._sock)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(None)
            while self._sock.recv(_PIECE):
                pass

    def _notify(self, sock: ssl.SSLSocket) -> None:
        """Send TLS's close_notify without waiting for the server's: not every server sends one."""
        sock.setblocking(False)
        with contextlib.suppress(OSError, ValueError):
            while True:
                try:
                    sock.unwrap()
                    break
                except ssl.SSLWantWriteError:
                    select.select([], [sock], [])
                except ssl.SSLWantReadError:
                    break

    async def receive(self, most: int) -> bytes:
        """Return up to `most` bytes; fewer only at the end."""
        return await self._run(lambda: self._receive(most))

    def _receive(self, most: int) -> bytes:
        found = bytearray()
        while len(found) < most and (piece := self._sock.recv(min(_PIECE, most - len(found)))):
            found += piece
        return bytes(found)

    def close(self) -> None:
        """End the connection and whatever the thread waits for in it; a second time is no fault."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        self._pool.submit(self._sock.close)
        self._pool.shutdown(wait=False)

    def _start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        started = asyncio.get_running_loop().run_in_executor(self._pool, work)
        started.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, should nobody ask
        return started

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._start(work)


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the same bytes in larger pieces: a hand-over to the thread costs as much as 50 kB of TLS."""
    kept: list[bytes] = []
    size = 0
    async for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        if size >= BATCH:
            yield b"".join(kept)
            kept, size = [], 0
    if kept:
        yield b"".join(kept)
