"""The RTMP ingest server: one port, any number of publishers, a blocking thread for each."""

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
_PAUSE_S = 0.2
_TOLD, _TOLD_AGAIN = 50, timedelta(seconds=1)


class RtmpServer(Generic[Grant]):
    """Takes publishers, RTMP or (with an SSL context) RTMPS.

    `authorize(request)` decides before any media flows, in the connection's thread; it may block. None, or any
    ReelayError, refuses; the text of a `Rejected` is told to the peer. Whether a second publisher of a key may come
    is its decision too. `on_publish(publication)` records the stream in the same thread. It is called just once for
    every grant, even if the peer has gone meanwhile; the connection ends when it returns. `port` 0 takes a free
    one; host `::` takes IPv4 and IPv6. What a grant has as `fields` (text by name), every log line of its publisher
    carries; when it has a `refusal` after `on_publish`, the publisher is told that.
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
        """The port that is listened on; only after `start`."""
        if self._listener is None:
            raise RuntimeError("the server is not started")
        return int(self._listener.getsockname()[1])

    def start(self, balancers: Iterable[Network] = ()) -> None:
        """Listen and accept; raises OSError when the address is taken.

        Connections from `balancers` begin with a PROXY header, TLS or not.
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
        """End all publications, wait for their consumers to return; False when some did not in time.

        It may be called again. `timeout` is real time, whatever the clock says.
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
                # Too many open files, or a peer that went before it was taken: neither may end the loop.
                if not self._stopping.is_set():
                    log.warning("rtmp.accept.failed", error=error.strerror)
                    self._stopping.wait(_PAUSE_S)
                continue
            self._balancers.take(sock, address[0], address[1])

    def _welcome(self, sock: socket.socket, host: str, port: int) -> None:
        if self._stopping.is_set():
            sock.close()
            return
        try:
            connection = Connection(self._service, sock, host, port)
        except OSError:  # the peer is gone already
            sock.close()
            return
        if not self._admission.enter(connection):
            self._refused += 1
            if self._refused & (self._refused - 1) == 0:  # a flood fills no log
                reason = "too many connections"
                log.warning("rtmp.connection.refused", peer=connection.peer, reason=reason, refused=self._refused)
            sock.close()
            return
        # A consumer that never returns must not keep the process from ending: stop() says so instead.
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
