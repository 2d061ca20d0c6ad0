"""An HTTP client for threads: it connects only to checked addresses, and its waits end 0.1 s after a stop."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import time
from collections.abc import Iterable
from datetime import timedelta
from threading import Event
from typing import Any, Final

import httpcore
import httpx

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits, Stopped
from shared.security.netguard import Address, Networks, resolve_checked
from shared.security.netguard.blocking import SLICE, connect_checked

DEFAULT: Final = timedelta(seconds=10)
CONNECTIONS: Final = 4  # for a playlist: the playing segment, the sought one, the first of that one's run, a key
_SLICE: Final = SLICE.total_seconds()
_Options = Iterable[httpcore.SOCKET_OPTION]


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes wait in slices of SLICE.

    A read's timeout applies to every `least` bytes: a server that sends a byte now and then times out, too.
    """

    def __init__(self, sock: socket.socket, stop: Event, least: int) -> None:
        self._sock = sock
        self._stop = stop
        self._least = least
        self._got = 0
        self._waited = 0.0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read the bytes that have come."""
        began = time.monotonic()
        end = _deadline(timeout) - self._waited
        while self._slice(end, httpcore.ReadTimeout):
            try:
                data = self._sock.recv(max_bytes)
            except TimeoutError:
                continue
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error
            self._got += len(data)
            self._waited += time.monotonic() - began
            if self._got >= self._least:
                self._got, self._waited = 0, 0.0
            return data
        return b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything; a request is small, and usually one piece."""
        self._got, self._waited = 0, 0.0
        end = _deadline(timeout)
        while buffer and self._slice(end, httpcore.WriteTimeout):
            try:
                buffer = buffer[self._sock.send(buffer) :]
            except TimeoutError:
                continue
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Start TLS with the requested server name."""
        end = _deadline(timeout)
        try:
            wrapped = ssl_context.wrap_socket(
                self._sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        secured = _Stream(wrapped, self._stop, self._least)
        try:
            secured._shake_hands(end)
        except BaseException:
            wrapped.close()
            raise
        return secured

    def _shake_hands(self, end: float) -> None:
        sock = self._sock
        while isinstance(sock, ssl.SSLSocket) and self._slice(end, httpcore.ConnectTimeout):
            try:
                sock.do_handshake()
            except TimeoutError:
                continue
            except ssl.SSLCertVerificationError as error:
                raise SourceError(f"its TLS certificate is not trusted: {error.verify_message}") from error
            except OSError as error:
                raise httpcore.ConnectError(str(error)) from error
            return

    def get_extra_info(self, info: str) -> Any:
        """Return the information that httpcore asks for."""
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        if info == "is_readable":
            self._sock.settimeout(0)
            try:
                self._sock.recv(1)
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            except OSError:
                return True
            return True  # unrequested bytes, or the end: the connection is useless
        return self._sock if info == "socket" else None

    def _slice(self, end: float, late: type[Exception]) -> bool:
        """Set the socket's timeout to one more slice; raise Stopped, or `late` after the deadline `end`."""
        if self._stop.is_set():
            raise Stopped
        left = end - time.monotonic()
        if left <= 0:
            raise late()
        self._sock.settimeout(min(left, _SLICE))
        return True


def _deadline(timeout: float | None) -> float:
    """Return when a call ends, on the monotonic clock; httpcore gives seconds, or None."""
    return time.monotonic() + (DEFAULT.total_seconds() if timeout is None else timeout)


class _Backend(httpcore.NetworkBackend):
    """Opens connections to addresses checked at connect time; TLS and the Host header keep the name."""

    def __init__(self, allowed: Networks, limits: Limits, stop: Event) -> None:
        self._allowed = tuple(allowed)
        self._least = limits.least
        self._stop = stop

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  httpcore's own signature
        socket_options: _Options | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Resolve, check and connect; a host's addresses share the time, so that each gets a try."""
        end = _deadline(timeout)
        addresses = asyncio.run(self._resolve(host, port))
        try:
            return _Stream(connect_checked(addresses, port, end, self._heed), self._stop, self._least)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    def _heed(self) -> None:
        if self._stop.is_set():
            raise Stopped

    async def _resolve(self, host: str, port: int) -> tuple[Address, ...]:
        task = asyncio.create_task(resolve_checked(host, port, allowed=self._allowed))
        while not (await asyncio.wait({task}, timeout=_SLICE))[0]:
            if self._stop.is_set():
                task.cancel()
                raise Stopped
        return task.result()


def guarded_client(allowed: Networks, limits: Limits, stop: Event, tls: ssl.SSLContext | None = None) -> httpx.Client:
    """Return a client for one source and one thread; it follows no redirects and ignores proxy settings."""
    tls = tls or _tls()
    transport = httpx.HTTPTransport(verify=tls)
    transport._pool = httpcore.ConnectionPool(  # noqa: SLF001  httpx takes no network backend
        ssl_context=tls,
        max_connections=CONNECTIONS,
        max_keepalive_connections=1,
        network_backend=_Backend(allowed, limits, stop),
    )
    timeout = httpx.Timeout(limits.patience.total_seconds())
    return httpx.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()
