"""Resource limits of a process that reads untrusted files, set in the kernel before it sees the first byte.

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
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.restreamer.sources.apart.calls import confine_calls

OUT_OF_MEMORY: Final = 75
"""The exit code of a child that has not even memory for an error message."""
_PDEATHSIG: Final = 1
_NO_NEW_PRIVS: Final = 38
_NOBODY: Final = 65534
_FORM: Final = struct.Struct("<QI?")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a process: memory (bytes, besides the shared part), and CPU time between two messages.

    `works`: it decodes and encodes, in threads; the length of its input limits its CPU time.
    """

    memory: int = 512 << 20
    cpu: timedelta = timedelta(seconds=10)
    works: bool = False

    @property
    def cpu_seconds(self) -> int:
        """The CPU time in whole seconds, as the kernel counts it."""
        return self.cpu // timedelta(seconds=1)

    def pack(self) -> bytes:
        """Return the bounds as bytes."""
        return _FORM.pack(self.memory, self.cpu_seconds, self.works)

    @classmethod
    def unpack(cls, data: bytes) -> Bounds:
        """Return the bounds from bytes."""
        memory, seconds, works = _FORM.unpack(data)
        return cls(memory, timedelta(seconds=seconds), works)


def confine(bounds: Bounds, parent: int) -> None:
    """Limit this process, and let it end with its parent. It can open nothing afterwards."""
    with contextlib.suppress(OSError):  # so that the kernel, out of memory, kills this process before any other
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    kib = {name: int(value.split()[0]) for name, value in _status() if name in {"VmSize", "VmData"}}
    if os.getuid() == 0:  # some of these limits do not apply to root
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    control = ctypes.CDLL(None, use_errno=True).prctl
    for option, value in ((_NO_NEW_PRIVS, 1), (_PDEATHSIG, int(signal.SIGKILL))):  # a change of user resets the latter
        if control(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        os._exit(1)
    _bound(resource.RLIMIT_AS, (kib["VmSize"] << 10) + bounds.memory)
    _bound(resource.RLIMIT_DATA, (kib["VmData"] << 10) + bounds.memory)
    for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        _bound(what, 0)
    if not bounds.works:  # threads count as processes, also those of other processes
        _bound(resource.RLIMIT_NPROC, 0)
    bound_computing(int(time.process_time()) + 1 + bounds.cpu_seconds)
    confine_calls(threads=bounds.works)


def bound_computing(until_s: int) -> None:
    """Set the process's total CPU time, s, after which SIGXCPU ends it."""
    resource.setrlimit(resource.RLIMIT_CPU, (until_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _bound(what: int, most: int) -> None:
    resource.setrlimit(what, (most, most))


def _status() -> list[tuple[str, str]]:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def no_memory(bounds: Bounds) -> str:
    """Return the error text for a file that takes too much memory."""
    return (
        f"{'decoding' if bounds.works else 'reading'} it takes more memory than a file may ({bounds.memory >> 20} MiB)"
    )
