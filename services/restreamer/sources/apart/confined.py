"""What a process that reads strangers' files may take: bounded by the kernel, before it sees the first byte.

Sources: Linux man pages setrlimit(2), prctl(2), proc_pid_oom_score_adj(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PDEATHSIG: Final = 1
_NO_NEW_PRIVS: Final = 38
_NOBODY: Final = 65534
_FORM: Final = struct.Struct("<QI")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of memory (bytes, beside what all such processes share) and of a core's time from word to word."""

    memory: int = 512 << 20
    cpu_s: int = 10

    def pack(self) -> bytes:
        """Put them into bytes."""
        return _FORM.pack(self.memory, self.cpu_s)

    @classmethod
    def unpack(cls, data: bytes) -> Bounds:
        """Read them."""
        return cls(*_FORM.unpack(data))


def confine(bounds: Bounds, parent: int) -> None:
    """Bound this process, and let it end with its parent. It can open nothing from here on."""
    with contextlib.suppress(OSError):  # so that the kernel, where memory ends, takes this process before any other
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    kib = {name: int(value.split()[0]) for name, value in _status() if name in {"VmSize", "VmData"}}
    if os.getuid() == 0:  # a process of root is not bound by all of this
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    control = ctypes.CDLL(None, use_errno=True).prctl
    for option, value in ((_NO_NEW_PRIVS, 1), (_PDEATHSIG, int(signal.SIGKILL))):  # a change of user forgets the latter
        if control(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        os._exit(1)
    _bound(resource.RLIMIT_AS, (kib["VmSize"] << 10) + bounds.memory)
    _bound(resource.RLIMIT_DATA, (kib["VmData"] << 10) + bounds.memory)
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        _bound(what, 0)
    renew(bounds)


def renew(bounds: Bounds) -> None:
    """Let the process compute for as long again. The kernel counts whole seconds; SIGXCPU ends it."""
    soft = int(time.process_time()) + 1 + bounds.cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _bound(what: int, most: int) -> None:
    resource.setrlimit(what, (most, most))


def _status() -> list[tuple[str, str]]:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
