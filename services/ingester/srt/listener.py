"""The SRT listener: one UDP port, many callers, one thread for each admitted caller."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.ingester.srt.answers import Authorize
from services.ingester.srt.gate import Gate, Known
from services.ingester.srt.model import SrtLimits
from services.ingester.srt.publication import SrtPublication
from shared.runtime.clock import Clock
from shared.runtime.logging import bound, get_logger
from shared.srt import address
from shared.srt.caller import ms
from shared.srt.constants import ERROR, Option
from shared.srt.errors import SrtError
from shared.srt.guard import CallbackGuard
from shared.srt.library import ListenCallback, load
from shared.srt.sockets import SrtSocket

log = get_logger()

OnPublish = Callable[[SrtPublication], None]

_POLL: Final = timedelta(milliseconds=10)  # while a granted caller is connecting
_IDLE: Final = timedelta(seconds=1)
_EXIT_GRACE: Final = timedelta(seconds=2)
_SRT_1_3: Final = 0x010300  # older callers cannot send their stream id in the handshake
_FLIGHT_WINDOW: Final = 25600  # SRTO_FC's default, in packets
_KERNEL_BUFFER: Final = 4 * 1024 * 1024  # shared by all callers; the kernel limits it to rmem_max
_KERNEL_LIMIT: Final = Path("/proc/sys/net/core/rmem_max")


class SrtListener:
    """Accepts SRT callers on one UDP port.

    `authorize(request)` runs in one thread of its own while the handshake, and with it every stream of the port,
    waits (at most `answer_within`): it must only do lookups. `on_publish(publication)` runs in a thread of its own
    for each admitted caller; when it returns or raises, the caller is disconnected. Port 0 picks a free one.
    `known(request)` returns whether `authorize` can answer from memory: such callers never wait for others.
    """

    def __init__(
        self,
        host: str,
        port: int,
        authorize: Authorize,
        on_publish: OnPublish,
        limits: SrtLimits,
        clock: Clock,
        known: Known = lambda _: False,
    ) -> None:
        self._where = (host, port)
        self._on_publish = on_publish
        self._limits = limits
        self._clock = clock
        self._gate = Gate(authorize, limits, clock, self._has_room, known)
        self._publications: dict[SrtPublication, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._knock = threading.Event()
        self._thread: threading.Thread | None = None
        self._callback = ListenCallback(self._on_handshake)
        self.port = port

    def start(self) -> None:
        """Start listening; raises SrtUnavailable without libsrt, SrtError when the port is taken."""
        library = load()
        _warn_of_small_kernel_buffers()
        # Runs before libsrt's own cleanup; it also keeps the callback alive, to which libsrt holds a bare pointer.
        atexit.register(self.stop, _EXIT_GRACE)
        socket = SrtSocket.create(library)
        try:
            self._configure(socket)
            socket.bind(*self._where)
            self.port = socket.local_address().port
            socket.listen(self._limits.max_pending, self._callback)
        except SrtError:
            socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, args=(socket,), name="srt-accept", daemon=True)
        self._thread.start()
        log.info("srt.listening", host=self._where[0], port=self.port, libsrt=library.version_text)

    def stop(self, timeout: timedelta) -> bool:
        """End every publication and the listener; return False when a thread still runs after `timeout`."""
        if self._thread is None:
            return True
        deadline = self._clock.monotonic_ns() + ms(timeout) * 1_000_000
        self._stopping.set()
        self._knock.set()
        self._join(self._thread, deadline)
        with self._lock:
            left = dict(self._publications)
        for publication in left:
            publication.close()
        for thread in left.values():
            self._join(thread, deadline)
        atexit.unregister(self.stop)
        stuck = sum(thread.is_alive() for thread in (self._thread, *left.values()))
        if stuck:
            log.error("srt.stop.incomplete", threads=stuck)
        return not stuck

    def publications(self) -> list[SrtPublication]:
        """Return the open publications."""
        with self._lock:
            return list(self._publications)

    def _join(self, thread: threading.Thread, deadline: int) -> None:
        thread.join(max(0, deadline - self._clock.monotonic_ns()) / 1e9)

    def _has_room(self) -> bool:
        return len(self._publications) + self._gate.waiting < self._limits.max_publications

    def _configure(self, socket: SrtSocket) -> None:
        limits = self._limits
        socket.set(Option.RCVSYN, 0)
        socket.set(Option.FC, max(_FLIGHT_WINDOW, limits.buffer_packets))  # before RCVBUF, which it bounds
        socket.set(Option.RCVBUF, limits.buffer_bytes)
        socket.set(Option.UDP_RCVBUF, _KERNEL_BUFFER)
        socket.set(Option.RCVLATENCY, ms(limits.latency))
        socket.set(Option.TSBPDMODE, not limits.in_order)
        socket.set(Option.TLPKTDROP, not limits.in_order)
        socket.set(Option.ENFORCEDENCRYPTION, 1)
        socket.set(Option.PBKEYLEN, limits.key_length)
        socket.set(Option.PEERIDLETIMEO, ms(limits.vanished))
        socket.set(Option.MINVERSION, _SRT_1_3)

    def _on_handshake(self, _opaque: object, number: int, _version: int, peer: int, streamid: bytes) -> int:
        accepted = False
        with CallbackGuard("srt.handshake"):
            if not self._stopping.is_set():
                socket = SrtSocket(load(), number)
                accepted = self._gate.judge(socket, address.read_pointer(peer), streamid or b"")
        if accepted:
            self._knock.set()
        return 0 if accepted else ERROR

    def _serve(self, listening: SrtSocket) -> None:
        try:
            while not self._stopping.is_set():
                self._knock.wait((_POLL if self._gate.waiting else _IDLE).total_seconds())
                self._knock.clear()
                while self._gate.waiting and (socket := listening.accept()) is not None:
                    self._admit(socket)
                self._gate.sweep()
        finally:
            listening.close()  # libsrt makes no callbacks after this
            self._gate.close()

    def _admit(self, socket: SrtSocket) -> None:
        entry = self._gate.collect(socket.number)
        if entry is None:
            socket.close()
            return
        peer = entry.request.peer
        try:
            publication = SrtPublication(socket, entry.grant, peer, self._limits, self._clock)
        except SrtError:  # the caller left after the handshake
            socket.close()
            return
        thread = threading.Thread(target=self._publish, args=(publication,), name="srt-read", daemon=True)
        with self._lock:
            self._publications[publication] = thread
        log.info("srt.publish.accepted", peer=str(peer), label=entry.grant.label, **entry.grant.fields)
        try:
            thread.start()
        except RuntimeError:  # no more threads available
            log.error("srt.publish.no_thread", peer=str(peer))
            self._forget(publication)

    def _publish(self, publication: SrtPublication) -> None:
        with bound(**publication.grant.fields):
            try:
                self._on_publish(publication)
            finally:
                self._forget(publication)

    def _forget(self, publication: SrtPublication) -> None:
        publication.close()
        with self._lock:
            self._publications.pop(publication, None)
        stats = publication.stats()
        log.info(
            "srt.publish.ended",
            peer=str(publication.peer),
            label=publication.grant.label,
            session=publication.session,
            reason=publication.cause,
            bytes=publication.bytes_read,
            lost=stats.packets_lost,
            dropped=stats.packets_dropped,
        )


def _warn_of_small_kernel_buffers() -> None:
    try:
        allowed = int(_KERNEL_LIMIT.read_text())
    except (OSError, ValueError):  # not Linux, or not readable
        return
    if allowed < _KERNEL_BUFFER:
        log.warning("srt.kernel_buffer.small", bytes=allowed, fix=f"sysctl -w net.core.rmem_max={_KERNEL_BUFFER}")
