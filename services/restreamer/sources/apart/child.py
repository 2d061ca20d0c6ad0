"""Talking to a child that reads strangers' files; one that breaks is an error of its file alone."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
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
LOOK_MS: Final = 100  # how often a wait looks whether it is to end
SILENT_S: Final = 60.0  # longer than a child may compute, on a machine that is busy
FATE_S: Final = 2.0
RELEASED_S: Final = 1.0
MOST_LEFT: Final = 64 << 20
"""Bytes that a child may have more than at first, once its file is closed."""
_ASKING: Final = frozenset({Said.READ, Said.JUMP, Said.GIVEN})
_BUFFER: Final = wire.HEAD.size + wire.BATCH + (1 << 16)
_WAIT: Final = struct.pack("ll", 0, LOOK_MS * 1000)
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)


class Child:
    """A process that reads one stranger's file after the other. One thread uses it at a time; `stop` ends its waits."""

    def __init__(self, line: socket.socket, fate: socket.socket, bounds: Bounds, stop: Event) -> None:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            line.setsockopt(socket.SOL_SOCKET, option, _WAIT)
        fate.settimeout(FATE_S)
        self._line, self._fate = line, fate
        self.bounds = bounds
        self.files = 1
        """How many were opened with it."""
        self._stop = stop
        self._buffer = bytearray(_BUFFER)
        self._owing = False  # it has not answered yet
        self._said: Said | None = None
        self._failed = False

    @property
    def alive(self) -> bool:
        """Tell whether it has said or done nothing while nothing was asked of it."""
        try:
            self._line.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def take(self, stop: Event) -> None:
        """Use it for another file; `stop` ends its waits from now on."""
        self._stop = stop
        self.files += 1

    def released(self) -> bool:
        """Have it forget its file; tell whether it is fit for another one. It waits for a word of ours, or is not."""
        if self._owing or self._failed or self._line.fileno() < 0:
            return False
        self._stop = Event()
        try:
            self.halt(wire.BROKEN, RELEASED_S)
            self.order(Order.CLOSE)
            message = self.answer(RELEASED_S)
        except SourceError:
            return False
        return message.said is Said.DONE and 0 <= message.number <= MOST_LEFT

    def halt(self, flags: int = 0, within: float = SILENT_S) -> None:
        """Have it leave what it is in the midst of. SourceError."""
        end = time.monotonic() + within
        while self._said in _ASKING:
            self.order(Order.MORE, flags=flags | wire.HALT)
            self.heard_out(self.answer(end - time.monotonic()))

    def heard_out(self, message: Message) -> None:
        """Take what it says once it was told to halt: it may have to finish what it is at. SourceError for more."""
        if message.frames or message.said is Said.GIVEN:
            raise self._nonsense(Nonsense("it gives frames that nobody wants"))

    def order(self, order: Order, *, flags: int = 0, number: int = 0, data: bytes = b"") -> None:
        """Say something; SourceError when nobody takes it."""
        pieces = [wire.ORDER.pack(order, flags, number, len(data)), data]
        self._owing = True
        left = memoryview(b"".join(pieces))
        end = time.monotonic() + SILENT_S
        while left:
            self._look(end)
            try:
                left = left[self._line.send(left, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._dead() from error

    def answer(self, within: float | None = None) -> Message:
        """Hear what it says; SourceError when that is nothing within some seconds, or nonsense."""
        size, body = 0, 0
        end = time.monotonic() + (SILENT_S if within is None else within)
        while size < wire.HEAD.size or size < wire.HEAD.size + body:
            wanted = wire.HEAD.size + body if body else len(self._buffer)
            self._look(end)  # also where a little comes each time
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
        """Find how much follows a head, and make room for it."""
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
        """End it at once."""
        self._line.close()
        self._fate.close()

    def _look(self, end: float) -> None:
        """Look whether a wait is to end."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > end:
            self.close()
            log.warning("source.child.silent", works=self.bounds.works)
            raise SourceError(f"{_doing(self.bounds)} it takes too long")

    def _nonsense(self, error: Nonsense) -> SourceError:
        """Say that a child is not to be trusted any more."""
        self.close()
        log.warning("source.child.nonsense", what=str(error))
        return SourceError(f"the file makes its {_role(self.bounds)} talk nonsense")

    def _dead(self) -> SourceError:
        """Say how a child ended."""
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
    """Put the end of a child into words."""
    role = _role(bounds)
    if status == NOT_FORKED:
        return SourceError(f"its {role} could not be started", lasting=False)
    if os.WIFEXITED(status):
        if os.WEXITSTATUS(status) == OUT_OF_MEMORY:
            return SourceError(no_memory(bounds))
        return SourceError(f"the file makes its {role} fail")
    ended = os.WTERMSIG(status)
    if ended == signal.SIGXCPU:
        most = "its length lets it" if bounds.works else f"the {bounds.cpu_s} s of computing that a file may"
        return SourceError(f"{_doing(bounds)} it takes more{' computing' if bounds.works else ''} than {most}")
    if ended in _CRASHES:
        return SourceError(f"the file makes its {role} crash")
    return SourceError(f"its {role} was killed", lasting=False)
