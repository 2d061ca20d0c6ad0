"""The socket of a connection: batched reads, writes that never block, abort from any thread."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress

from shared.rtmp.errors import LimitExceeded, PeerGone, ProtocolError

_TIMEVAL = struct.Struct("@ll")


class Transport:
    """A plain TCP connection.

    A read waits in the kernel for the low-water mark (SO_RCVLOWAT) or the tick (SO_RCVTIMEO), whichever comes first,
    and returns what has arrived by then: one system call and one wake-up for many packets.
    """

    secure = False

    def __init__(self, sock: socket.socket, *, tick_ns: int, outbox: int) -> None:
        self._sock = sock
        self._outbox_limit = outbox
        self._outbox = bytearray()
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seconds, rest = divmod(max(tick_ns, 1000), 1_000_000_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(seconds, rest // 1000))

    def set_low_water(self, count: int) -> None:
        """Let reads wait for `count` bytes (or the tick)."""
        with suppress(OSError):  # the peer may be gone already; the next read returns that
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def receive(self, view: memoryview) -> int | None:
        """Read into `view` and return the count; 0 at the end, None when nothing came within the tick."""
        if self._outbox:
            self.send(b"")
        return self._receive_raw(view)

    def _receive_raw(self, view: memoryview) -> int | None:
        try:
            return self._sock.recv_into(view)
        except BlockingIOError:
            return None
        except OSError:  # reset, timed out by the kernel, or shut down by another thread
            return 0

    def send(self, data: bytes) -> None:
        """Write without blocking; unsent bytes are kept, up to the outbox limit."""
        self._outbox += data
        try:
            sent = self._sock.send(self._outbox, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise PeerGone("connection lost") from error
        del self._outbox[:sent]
        if len(self._outbox) > self._outbox_limit:
            raise LimitExceeded("peer does not read answers")

    def finish_writing(self) -> None:
        """Shut down the sending side."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Shut down reads and writes at once; from any thread."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; only in the reading thread."""
        self._sock.close()


class TlsTransport(Transport):
    """RTMPS: the same reads, with TLS between two memory buffers, so that tick and low-water mark work the same."""

    secure = True

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, tick_ns: int, outbox: int) -> None:
        super().__init__(sock, tick_ns=tick_ns, outbox=outbox)
        self._raw = memoryview(bytearray(65536))
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._open = False

    def receive(self, view: memoryview) -> int | None:
        """Read decrypted bytes into `view`; also does the TLS handshake."""
        count = self._decrypt(view)
        if count is not None:
            return count
        received = super().receive(self._raw)
        if not received:
            return received
        self._incoming.write(self._raw[:received])
        return self._decrypt(view)

    def _decrypt(self, view: memoryview) -> int | None:
        filled = 0
        try:
            if not self._open:
                self._tls.do_handshake()
                self._open = True
            while filled < len(view):
                # With a buffer, read returns a count, which its type does not say.
                count: int = self._tls.read(len(view) - filled, view[filled:])  # type: ignore[assignment]  # see above
                if not count:
                    break
                filled += count
        except ssl.SSLWantReadError:
            self._flush()
            return filled or None
        except ssl.SSLZeroReturnError:
            return filled
        except ssl.SSLError as error:
            self._flush()  # the alert
            raise ProtocolError("TLS failed") from error
        self._flush()
        return filled

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read())

    def send(self, data: bytes) -> None:
        """Encrypt and write without blocking."""
        if data:
            self._tls.write(data)
        super().send(self._outgoing.read())
