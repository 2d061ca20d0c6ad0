"""The process from which all children are forked: it has loaded what they need, and has seen no untrusted byte.

It gets orders from its parent through a socket: bounds, and two sockets for a new child. The child talks through one.
The zygote keeps the other, the child's fate: when the parent closes it, the child is killed; when the child ends, the
zygote sends its exit status and closes it. When the parent is gone, the zygote ends, and so does every child.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil
import select
import signal
import socket
from collections.abc import Iterator
from typing import Final

import av

from services.restreamer.model import SourceError
from services.restreamer.playout.children.warming import warm
from services.restreamer.sources.apart.confined import Bounds, confine
from services.restreamer.sources.apart.inside import Inside
from services.restreamer.sources.apart.wire import CONTAINERS, FATE, NOT_FORKED
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.memory import bound_allocations
from services.restreamer.sources.origins.files import SequentialFile
from services.restreamer.sources.picture_files import decode_pixels

LONGEST: Final = 64
_GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")
"""A picture of one pixel."""


class Zygote:
    """Forks children, and reaps them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._woken, wake = socket.socketpair()
        self._woken.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        self._fates: dict[int, socket.socket] = {}  # by descriptor
        self._pids: dict[int, int] = {}  # by the fate's descriptor
        self._poll = select.poll()

    def run(self) -> None:
        """Serve until the parent is gone."""
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        while True:
            for handle, _ in self._poll.poll():
                if handle == self._control.fileno():
                    if not self._order():
                        return
                elif handle == self._woken.fileno():
                    self._bury()
                elif handle in self._fates:
                    self._kill(handle)

    def end(self) -> None:
        """Kill all children."""
        for handle in list(self._fates):
            self._kill(handle)

    def _order(self) -> bool:
        """Carry out an order; return False when the parent is gone."""
        data, handles, _, _ = socket.recv_fds(self._control, LONGEST, 2)
        if not data:
            return False
        if len(handles) != 2:  # this process may be out of descriptors; the parent sees that both sockets are closed
            for handle in handles:
                os.close(handle)
            return True
        line, fate = (socket.socket(fileno=handle) for handle in handles)
        try:
            pid = os.fork()
        except OSError:
            fate.send(FATE.pack(NOT_FORKED))
            fate.close()
        else:
            if not pid:
                self._be_child(line, Bounds.unpack(data))
            self._fates[fate.fileno()] = fate
            self._pids[fate.fileno()] = pid
            self._poll.register(fate, select.POLLIN)
        line.close()
        return True

    def _be_child(self, line: socket.socket, bounds: Bounds) -> None:
        """Run as the child, and exit."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            kept = socket.socket(fileno=os.dup2(line.detach(), 3))
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))
            confine(bounds, self._pid)
            Inside(kept, bounds).serve()
            code = 0
        finally:
            os._exit(code)

    def _kill(self, handle: int) -> None:
        """Kill a child that is no longer needed; it is reaped later."""
        os.kill(self._pids[handle], signal.SIGKILL)
        self._poll.unregister(handle)
        self._fates.pop(handle).close()
        del self._pids[handle]

    def _bury(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(LONGEST):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for handle in [handle for handle, other in self._pids.items() if other == pid]:
                with contextlib.suppress(OSError):
                    self._fates[handle].send(FATE.pack(status))
                self._poll.unregister(handle)
                self._fates.pop(handle).close()
                del self._pids[handle]


def _warm() -> None:
    """Load everything that a child uses by using it once: a child can open no file, not even a module's."""
    bound_allocations()
    for module in pkgutil.walk_packages(av.__path__, "av."):  # PyAV imports a track kind's modules when it sees one
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for container in CONTAINERS:
        with contextlib.suppress(SourceError):
            Demuxer(SequentialFile(_Nothing()), container)
    decode_pixels("gif", _GIF, 1)
    warm()


class _Nothing:
    """An origin of zero bytes."""

    size: int | None = None
    ranged = False

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        del start, end
        return iter((bytes(1 << 12),))

    def close(self) -> None:
        pass


def main(control: socket.socket) -> None:
    """Run as the zygote of the process at the other end."""
    _warm()
    gc.collect()
    gc.freeze()
    zygote = Zygote(control)
    try:
        zygote.run()
    finally:
        zygote.end()
