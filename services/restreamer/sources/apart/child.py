"""Talk to a child that reads untrusted files; a child's failure is an error of its file only."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from datetime import timedelta
from threading import Event
from typing import Final

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.apart import wire
from services.restreamer.sources.apart.confined import OUT_OF_MEMORY, Bounds, no_memory
from services.restreamer.sources.apart.nonsense import Nonsense
from services.restreamer.sources.apart.wire import FATE, NOT_FORKED, Message, Order, Said
from shared.runtime.logging import get_logger

log = get_logger()
LOOK: Final = timedelta(milliseconds=100)  # how often a wait checks for a stop
SILENT: Final = timedelta(seconds=60)  # longer than a child may compute, even on a busy machine
FATE_WITHIN: Final = timedelta(seconds=2)
RELEASED_WITHIN: Final = timedelta(seconds=1)
MOST_LEFT: Final = 64 << 20
"""How many more bytes than at first a child may have allocated after its file is closed."""
_ASKING: Final = frozenset({Said.READ, Said.JUMP, Said.GIVEN})
_BUFFER: Final = wire.HEAD.size + wire.BATCH + (1 << 16)
_WAIT: Final = struct.pack("ll", 0, LOOK // timedelta(microseconds=1))
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)


class Child:
    """A process that reads untrusted files one by one. One thread uses it at a time; `stop` ends its waits."""

    def __init__(self, line: socket.socket, fate: socket.socket, bounds: Bounds, stop: Event) -> None:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            line.setsockopt(socket.SOL_SOCKET, option, _WAIT)
        fate.settimeout(FATE_WITHIN.total_seconds())
        self._line, self._fate = line, fate
        self.bounds = bounds
        self.files = 1
        """How many files were opened with it."""
        self._stop = stop
        self._buffer = bytearray(_BUFFER)
        self._owing = False  # an answer is outstanding
        self._said: Said | None = None
        self._failed = False

    @property
    def alive(self) -> bool:
        """Whether the idle child is still connected and has sent nothing unasked."""
        try:
            self._line.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def take(self, stop: Event) -> None:
        """Use this child for another file; `stop` ends its waits from now on."""
        self._stop = stop
        self.files += 1

    def released(self) -> bool:
        """Close the child's file; return whether the child is fit for another one. Not while an answer is due."""
        if self._owing or self._failed or self._line.fileno() < 0:
            return False
        self._stop = Event()
        try:
            self.halt(wire.BROKEN, RELEASED_WITHIN)
            self.order(Order.CLOSE)
            message = self.answer(RELEASED_WITHIN)
        except SourceError:
            return False
        return message.said is Said.DONE and 0 <= message.number <= MOST_LEFT

    def halt(self, flags: int = 0, within: timedelta = SILENT) -> None:
        """Interrupt the child's present order. Raise SourceError."""
        end = time.monotonic() + within.total_seconds()
        while self._said in _ASKING:
            self.order(Order.MORE, flags=flags | wire.HALT)
            self.heard_out(self.answer(timedelta(seconds=end - time.monotonic())))

    def heard_out(self, message: Message) -> None:
        """Check a message after a halt: the child may finish a step; raise SourceError when it sends frames."""
        if message.frames or message.said is Said.GIVEN:
            raise self._nonsense(Nonsense("it gives frames that nobody wants"))

    def order(self, order: Order, *, flags: int = 0, number: int = 0, data: bytes = b"") -> None:
        """Send an order; raise SourceError when the child does not receive it."""
        pieces = [wire.ORDER.pack(order, flags, number, len(data)), data]
        self._owing = True
        left = memoryview(b"".join(pieces))
        end = time.monotonic() + SILENT.total_seconds()
        while left:
            self._look(end)
            try:
                left = left[self._line.send(left, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._dead() from error

    def answer(self, within: timedelta | None = None) -> Message:
        """Return the child's next message; raise SourceError on a timeout (SILENT) or an invalid message."""
        size, body = 0, 0
        end = time.monotonic() + (SILENT if within is None else within).total_seconds()
        while size < wire.HEAD.size or size < wire.HEAD.size + body:
            wanted = wire.HEAD.size + body if body else len(self._buffer)
            self._look(end)  # also when a few bytes come each time
            try:
                count = self._line.recv_into(memoryview(self._buffer)[size:wanted])
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._dead() from error
            if not count:
                raise self._dead()
            size += count
            if not body and size >= wire.HEAD.size:
                body = self._body(size)
        return self._read(size)

    def _body(self, size: int) -> int:
        """Return how many bytes follow a head, and make room for them."""
        try:
            body = wire.body_size(self._buffer)
        except Nonsense as error:
            raise self._nonsense(error) from error
        if size > wire.HEAD.size + body:
            raise self._nonsense(Nonsense("it says more than it announces"))
        if len(self._buffer) < wire.HEAD.size + body:
            self._buffer += bytes(wire.HEAD.size + body - len(self._buffer))
        return body

    def _read(self, size: int) -> Message:
        try:
            message = wire.unpack(memoryview(self._buffer)[:size])
        except Nonsense as error:
            raise self._nonsense(error) from error
        if len(self._buffer) > _BUFFER:
            self._buffer = bytearray(_BUFFER)
        self._owing, self._said = False, message.said
        self._failed = self._failed or message.said is Said.FAILED
        return message

    def close(self) -> None:
        """Close both sockets, which ends the child at once."""
        self._line.close()
        self._fate.close()

    def _look(self, end: float) -> None:
        """Raise Stopped after a stop, or SourceError after the deadline `end`."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > end:
            self.close()
            log.warning("source.child.silent", works=self.bounds.works)
            raise SourceError(f"{_doing(self.bounds)} it takes too long")

    def _nonsense(self, error: Nonsense) -> SourceError:
        """Close a child that sent an invalid message, and return the error."""
        self.close()
        log.warning("source.child.nonsense", what=str(error))
        return SourceError(f"the file makes its {_role(self.bounds)} talk nonsense")

    def _dead(self) -> SourceError:
        """Close a child that has ended, and return the error."""
        try:
            data = self._fate.recv(FATE.size)
        except OSError:
            data = b""
        self.close()
        if len(data) < FATE.size:
            return SourceError(f"its {_role(self.bounds)} could not be started", lasting=False)
        status = FATE.unpack(data)[0]
        told = _told(status, self.bounds)
        log.warning("source.child.ended", status=status, reason=str(told))
        return told


def _role(bounds: Bounds) -> str:
    return "decoder" if bounds.works else "reader"


def _doing(bounds: Bounds) -> str:
    return "decoding" if bounds.works else "reading"


def _told(status: int, bounds: Bounds) -> SourceError:
    """Return the error for a child's exit status."""
    role = _role(bounds)
    if status == NOT_FORKED:
        return SourceError(f"its {role} could not be started", lasting=False)
    if os.WIFEXITED(status):
        if os.WEXITSTATUS(status) == OUT_OF_MEMORY:
            return SourceError(no_memory(bounds))
        return SourceError(f"the file makes its {role} fail")
    ended = os.WTERMSIG(status)
    if ended == signal.SIGXCPU:
        most = "its length lets it" if bounds.works else f"the {bounds.cpu_seconds} s of computing that a file may"
        return SourceError(f"{_doing(bounds)} it takes more{' computing' if bounds.works else ''} than {most}")
    if ended in _CRASHES:
        return SourceError(f"the file makes its {role} crash")
    return SourceError(f"its {role} was killed", lasting=False)
