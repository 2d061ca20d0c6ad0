"""Keeps this process, and all that it starts, from being scheduled ahead of the rest of the machine.

An AV1 encoder (SVT-AV1) that root runs makes its threads, and the one that opened it, SCHED_FIFO with priority 99;
what they start inherits that. One thread that spins then takes a core for ever, even from the thread it waits for.
Sources: Linux man pages capabilities(7), capget(2), prctl(2), sched(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
from typing import Final

_CAP_SYS_NICE: Final = 23  # linux/capability.h
_VERSION_3: Final = 0x20080522
_CAPBSET_DROP: Final = 24  # linux/prctl.h


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def stay_ordinary() -> None:
    """Give up real-time scheduling: for this thread, those that it starts, and programs that any of them starts.

    Where it is not allowed anyway, nothing changes. To be called before threads that encode are started.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)  # refused to those who have no such right to lose
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if not libc.capget(ctypes.byref(header), sets):
        kept = ~(1 << _CAP_SYS_NICE) & 0xFFFFFFFF
        sets[0].effective &= kept
        sets[0].permitted &= kept
        sets[0].inheritable &= kept
        libc.capset(ctypes.byref(header), sets)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
