"""Start children for untrusted files."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from threading import Event, Lock
from typing import Final, Protocol

from services.restreamer.model import SourceError
from services.restreamer.sources.apart.child import Child
from services.restreamer.sources.apart.confined import Bounds

_TUNED: Final = {  # no threads; and freed memory is kept, because the next file needs it again
    "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TOP_PAD_": str(1 << 20),
}  # fmt: skip


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
