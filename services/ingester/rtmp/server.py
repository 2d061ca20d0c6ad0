"""The RTMP ingest server: one port, many publishers, one blocking thread for each."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Generic, TypeVar

from services.ingester.rtmp.admission import Admission
from services.ingester.rtmp.connection import Connection, Service
from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.proxied import Balancers
from services.ingester.rtmp.publication import Publication
from services.ingester.rtmp.request import PublishRequest
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.logging import get_logger
from shared.runtime.settings import Network
from shared.security.peers import Budget
from shared.security.proxied import trusting

log = get_logger()

Grant = TypeVar("Grant")
_BACKLOG = 128
_PAUSE = timedelta(milliseconds=200)
_TOLD, _TOLD_AGAIN = 50, timedelta(seconds=1)


class RtmpServer(Generic[Grant]):
    """Accepts publishers, by RTMP or (with an SSL context) RTMPS.

    `authorize(request)` decides before any media flows, in the connection's thread; it may block. None, or any
    ReelayError, refuses; the text of a `Rejected` is sent to the peer. It also decides whether a key may have a
    second publisher. `on_publish(publication)` records the stream in the same thread. It is called exactly once for
    every grant, even if the peer is already gone; the connection ends when it returns. `port` 0 picks a free
    one; host `::` accepts IPv4 and IPv6. A grant's `fields` (text by name) are added to every log line of its
    publisher; a `refusal` that it has after `on_publish` is sent to the publisher.
    """

    def __init__(
        self,
        host: str,
        port: int,
        authorize: Callable[[PublishRequest], Grant | None],
        on_publish: Callable[[Publication[Grant]], None],
        limits: RtmpLimits | None = None,
        clock: Clock | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        limits = limits or RtmpLimits()
        self._address = (host, port)
        self._admission = Admission(
            connections=limits.connections, unpublished=limits.unpublished, unpublished_each=limits.unpublished_each
        )
        clock = clock or SystemClock()
        told = Budget(_TOLD, _TOLD_AGAIN, clock)
        self._service = Service(authorize, on_publish, limits, clock, self._admission, told, tls)
        self._balancers = Balancers(trusting(()), self._welcome)
        self._refused = 0
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The listening port; available after `start`."""
        if self._listener is None:
            raise RuntimeError("the server is not started")
        return int(self._listener.getsockname()[1])

    def start(self, balancers: Iterable[Network] = ()) -> None:
        """Listen and accept; raises OSError when the address is taken.

        Connections from `balancers` start with a PROXY header, with TLS or without.
        """
        self._balancers = Balancers(trusting(balancers), self._welcome)
        host = self._address[0]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        both = host == "::" and socket.has_dualstack_ipv6()
        self._listener = socket.create_server(self._address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), name="rtmp-accept")
        self._acceptor.start()
        log.info("rtmp.server.started", port=self.port, tls=self._service.tls is not None)

    def stop(self, timeout: timedelta) -> bool:
        """End all publications and wait for their consumers to return; return False when some did not in time.

        It may be called again. `timeout` is real time, not that of the injected clock.
        """
        self._stopping.set()
        until = time.monotonic() + timeout.total_seconds()
        if self._listener is not None and self._acceptor is not None:
            with suppress(OSError):  # closed by an earlier call
                self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join()
            self._listener.close()
        for guest in self._admission.everyone():
            guest.abort()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        left = sum(thread.is_alive() for thread in threads)
        log.info("rtmp.server.stopped", left=left)
        return not left

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, address = listener.accept()
            except OSError as error:
                # Too many open files, or a peer that left before accept: neither may end the loop.
                if not self._stopping.is_set():
                    log.warning("rtmp.accept.failed", error=error.strerror)
                    self._stopping.wait(_PAUSE.total_seconds())
                continue
            self._balancers.take(sock, address[0], address[1])

    def _welcome(self, sock: socket.socket, host: str, port: int) -> None:
        if self._stopping.is_set():
            sock.close()
            return
        try:
            connection = Connection(self._service, sock, host, port)
        except OSError:  # the peer is already gone
            sock.close()
            return
        if not self._admission.enter(connection):
            self._refused += 1
            if self._refused & (self._refused - 1) == 0:  # a flood must not fill the log
                reason = "too many connections"
                log.warning("rtmp.connection.refused", peer=connection.peer, reason=reason, refused=self._refused)
            sock.close()
            return
        # A consumer that never returns must not keep the process alive: stop() returns False instead.
        thread = threading.Thread(target=self._run, args=(connection,), name=f"rtmp-{connection.peer}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            log.warning("rtmp.connection.refused", peer=connection.peer, reason="no thread left")
            self._admission.leave(connection)
            with self._lock:
                self._threads.discard(thread)
            sock.close()

    def _run(self, connection: Connection[Grant]) -> None:
        try:
            connection.run()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
