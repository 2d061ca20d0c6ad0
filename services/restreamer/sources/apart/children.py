"""Start children for untrusted files, and talk to them; a child's failure is an error of its file only."""

from __future__ import annotations

import functools
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from threading import Event, Lock
from typing import Final, Protocol

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.apart import wire
from services.restreamer.sources.apart.confined import OUT_OF_MEMORY, Bounds, no_memory
from services.restreamer.sources.apart.wire import FATE, NOT_FORKED, Message, Nonsense, Order, Said
from shared.runtime.logging import get_logger

log = get_logger()
LOOK_MS: Final = 100  # how often a wait checks for a stop
SILENT_S: Final = 60.0  # longer than a child may compute, even on a busy machine
FATE_S: Final = 2.0
RELEASED_S: Final = 1.0
MOST_LEFT: Final = 64 << 20
"""How many more bytes than at first a child may have allocated after its file is closed."""
_ASKING: Final = frozenset({Said.READ, Said.JUMP, Said.GIVEN})
_BUFFER: Final = wire.HEAD.size + wire.BATCH + (1 << 16)
_WAIT: Final = struct.pack("ll", 0, LOOK_MS * 1000)
_TUNED: Final = {  # no threads; and freed memory is kept, because the next file needs it again
    "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TOP_PAD_": str(1 << 20),
}  # fmt: skip
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)


class Child:
    """A process that reads untrusted files one by one. One thread uses it at a time; `stop` ends its waits."""

    def __init__(self, line: socket.socket, fate: socket.socket, bounds: Bounds, stop: Event) -> None:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            line.setsockopt(socket.SOL_SOCKET, option, _WAIT)
        fate.settimeout(FATE_S)
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
            self.halt(wire.BROKEN, RELEASED_S)
            self.order(Order.CLOSE)
            message = self.answer(RELEASED_S)
        except SourceError:
            return False
        return message.said is Said.DONE and 0 <= message.number <= MOST_LEFT

    def halt(self, flags: int = 0, within: float = SILENT_S) -> None:
        """Interrupt the child's present order. Raise SourceError."""
        end = time.monotonic() + within
        while self._said in _ASKING:
            self.order(Order.MORE, flags=flags | wire.HALT)
            self.heard_out(self.answer(end - time.monotonic()))

    def heard_out(self, message: Message) -> None:
        """Check a message after a halt: the child may finish a step; raise SourceError when it sends frames."""
        if message.frames or message.said is Said.GIVEN:
            raise self._nonsense(Nonsense("it gives frames that nobody wants"))

    def order(self, order: Order, *, flags: int = 0, number: int = 0, data: bytes = b"") -> None:
        """Send an order; raise SourceError when the child does not receive it."""
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
        """Return the child's next message; raise SourceError on a timeout (SILENT_S) or an invalid message."""
        size, body = 0, 0
        end = time.monotonic() + (SILENT_S if within is None else within)
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
        most = "its length lets it" if bounds.works else f"the {bounds.cpu_s} s of computing that a file may"
        return SourceError(f"{_doing(bounds)} it takes more{' computing' if bounds.works else ''} than {most}")
    if ended in _CRASHES:
        return SourceError(f"the file makes its {role} crash")
    return SourceError(f"its {role} was killed", lasting=False)


class Family(Protocol):
    """A supplier of children."""

    def child(self, stop: Event, bounds: Bounds | None = None) -> Child:
        """Return a child for a file or for work; `stop` ends its waits. Raise SourceError."""
        ...

    def give(self, child: Child) -> None:
        """Take back a child."""
        ...


class Children:
    """Starts children through a zygote, which is started once, and again when it has ended. Thread-safe."""

    def __init__(self, bounds: Bounds = Bounds()) -> None:  # noqa: B008  it is frozen, so all may share it
        self._bounds = bounds
        self._lock = Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def bounds(self) -> Bounds:
        """The default bounds of a child."""
        return self._bounds

    @property
    def zygote(self) -> int | None:
        """The zygote's process id."""
        return self._zygote.pid if self._zygote is not None else None

    def start(self, bounds: Bounds | None = None) -> None:
        """Start the zygote, which is ready after a second; `bounds` become the default from now on."""
        with self._lock:
            self._bounds = bounds or self._bounds
            self._started()

    def give(self, child: Child) -> None:
        """End a child that is no longer needed."""
        child.close()

    def child(self, stop: Event, bounds: Bounds | None = None) -> Child:
        """Start a child, with the default bounds or others. Raise SourceError when there is no room for one."""
        try:
            line, theirs = socket.socketpair()
            fate, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise SourceError("there is no room for its reader", lasting=False) from error
        with theirs, its, self._lock:
            bounds = bounds or self._bounds
            for last in (False, True):
                try:
                    socket.send_fds(self._started(), [bounds.pack()], [theirs.fileno(), its.fileno()])
                    break
                except OSError as error:
                    self._forget()
                    if last:
                        raise SourceError("its reader could not be started", lasting=False) from error
        return Child(line, fate, bounds, stop)

    def close(self) -> None:
        """End the zygote and all children."""
        with self._lock:
            self._forget()

    def _started(self) -> socket.socket:
        if self._control is not None and self._zygote is not None and self._zygote.poll() is None:
            return self._control
        self._forget()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The environment is not passed on: it holds secrets.
        known = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
        roots = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100  "" is the current folder
        with theirs:
            self._zygote = subprocess.Popen(  # noqa: S603  our own module, by our own interpreter
                [sys.executable, "-m", "services.restreamer.sources.apart", str(theirs.fileno())],
                env={**known, **_TUNED, "PYTHONPATH": roots},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        return self._control

    def _forget(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._zygote is not None:
            self._zygote.kill()  # its children end with it
            self._zygote.wait()
            self._zygote = None


@functools.cache
def children() -> Children:
    """Return the children of this process."""
    return Children()
