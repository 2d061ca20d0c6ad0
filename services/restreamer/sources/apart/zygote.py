"""The process that all children are forked from: it has loaded what they need, and has seen no stranger's byte.

It takes orders from its parent by a socket: bounds, and two sockets of a new child. One is what the child talks by. The
other is its fate, and held here: where the parent closes it the child is killed, where the child ends we say how, and
close it. When the parent is gone we end, and so does every child.
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
    """Forks children, and buries them."""

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
        """Work until the parent is gone."""
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
        """Take an order; tell whether there was one."""
        data, handles, _, _ = socket.recv_fds(self._control, LONGEST, 2)
        if not data:
            return False
        if len(handles) != 2:  # we may have no more descriptors; whoever waits sees that both are closed
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
        """Be a child, to its end."""
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
        """Kill a child that nobody wants any more; it is buried later."""
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
    """Use all that a child uses once, which loads it: a child can open no file any more, not even ours."""
    bound_allocations()
    for module in pkgutil.walk_packages(av.__path__, "av."):  # PyAV imports what a kind of track needs when it sees one
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for container in CONTAINERS:
        with contextlib.suppress(SourceError):
            Demuxer(SequentialFile(_Nothing()), container)
    decode_pixels("gif", _GIF, 1)
    warm()


class _Nothing:
    """An origin of nothing."""

    size: int | None = None
    ranged = False

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        del start, end
        return iter((bytes(1 << 12),))

    def close(self) -> None:
        pass


def main(control: socket.socket) -> None:
    """Be the zygote of whoever holds the other end."""
    _warm()
    gc.collect()
    gc.freeze()
    zygote = Zygote(control)
    try:
        zygote.run()
    finally:
        zygote.end()
