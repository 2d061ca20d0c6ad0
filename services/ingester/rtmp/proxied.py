"""RTMP connections from load balancers: their PROXY protocol header is read before anything else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from shared.runtime.logging import get_logger
from shared.security.proxied import HEADER_WITHIN, ProxyError, ProxyHeader, parse_header

log = get_logger()
MOST: Final = 256
Welcome = Callable[[socket.socket, str, int], None]


class Balancers:
    """Passes on balancers' connections with the client address from their header, and other connections unchanged.

    Each header is read in a thread of its own, for at most 3 s; at most `MOST` connections wait at a time.
    """

    def __init__(self, trusts: Callable[[str], bool], welcome: Welcome) -> None:
        self._trusts = trusts
        self._welcome = welcome
        self._room = threading.BoundedSemaphore(MOST)
        self._refused = 0

    def take(self, sock: socket.socket, host: str, port: int) -> None:
        """Take an accepted connection."""
        if not self._trusts(host):
            return self._welcome(sock, host, port)
        if not self._room.acquire(blocking=False):
            return self._refuse(sock, host, "too many wait")
        try:
            threading.Thread(target=self._unwrap, args=(sock, host, port), name="rtmp-proxy", daemon=True).start()
        except RuntimeError:
            self._room.release()
            self._refuse(sock, host, "no thread left")
        return None

    def _unwrap(self, sock: socket.socket, host: str, port: int) -> None:
        try:
            header = read_header(sock)
        except (ProxyError, OSError) as error:
            return self._refuse(sock, host, str(error))
        finally:
            self._room.release()
        return self._welcome(sock, header.address or host, header.port if header.address else port)

    def _refuse(self, sock: socket.socket, host: str, reason: str) -> None:
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:  # a flood must not fill the log
            log.warning("rtmp.proxy.refused", peer=host, reason=reason, refused=self._refused)
        with suppress(OSError):
            sock.close()


def read_header(sock: socket.socket) -> ProxyHeader:
    """Read a header and no byte after it; raises ProxyError or OSError."""
    until = time.monotonic() + HEADER_WITHIN.total_seconds()
    data = bytearray()
    while (header := parse_header(data)) is None:
        sock.settimeout(max(until - time.monotonic(), 0.001))
        came = sock.recv(_wanted(data))
        if not came:
            raise ProxyError("closed before its PROXY header")
        data += came
    sock.settimeout(None)
    return header


def _wanted(data: bytearray) -> int:
    """Return how many more bytes surely belong to the header; a version 1 header is a line of unknown length."""
    if data[:1] != b"\r":
        return 1
    return 16 - len(data) if len(data) < 16 else 16 + int.from_bytes(data[14:16], "big") - len(data)
