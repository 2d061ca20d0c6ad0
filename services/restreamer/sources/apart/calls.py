"""The system calls of a confined process: it may compute and use its open socket, nothing else.

A seccomp filter, set by prctl: every maintained library for it needs a system library.
Sources: Linux Documentation/userspace-api/seccomp_filter.rst, linux/filter.h, linux/audit.h, asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass
from typing import Final

_SET_SECCOMP: Final = 22
_FILTER: Final = 2
_LOAD, _IS, _ANDED, _RETURN = 0x20, 0x15, 0x54, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NR, _ARCH, _FIRST = 0, 4, 16
_NONE: Final = _ERRNO | errno.ENOSYS  # as if the kernel lacked the call: libraries have fallbacks
_CLONE_THREAD: Final = 0x10000


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of system calls. `tgkill` and `prlimit` are allowed for this process only."""

    arch: int
    plain: tuple[int, ...]
    clone: int
    tgkill: int
    prlimit: int


# read write close fstat lseek mmap mprotect munmap brk mremap madvise; readv writev poll ppoll sendto recvfrom sendmsg
# recvmsg; rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall; sched_yield nanosleep clock_nanosleep
# clock_gettime clock_getres gettimeofday times; getpid gettid getrusage getrlimit sched_getaffinity getrandom; futex
# set_robust_list set_tid_address rseq membarrier; exit exit_group
_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 25, 28, 19, 20, 7, 271, 44, 45, 46, 47, 13, 14, 15, 131, 219, 24, 35, 230,
         228, 229, 96, 100, 39, 186, 98, 97, 204, 318, 202, 273, 218, 334, 324, 60, 231),
        clone=56, tgkill=234, prlimit=302,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (63, 64, 57, 80, 62, 222, 226, 215, 214, 216, 233, 65, 66, 73, 206, 207, 211, 212, 134, 135, 139, 132, 128,
         124, 101, 115, 113, 114, 169, 153, 172, 178, 165, 163, 123, 278, 98, 99, 96, 293, 283, 93, 94),
        clone=220, tgkill=131, prlimit=261,
    ),
}  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("code", ctypes.c_void_p))


def confine_calls(*, threads: bool) -> bool:
    """Restrict this process to the calls for computing; return False when kernel or machine do not support it.

    With `threads` it may start threads; it may never start a process.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    code = _code(machine, threads=threads)
    kept = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(kept))
    return not ctypes.CDLL(None, use_errno=True).prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)


def _code(machine: _Machine, *, threads: bool) -> bytes:
    steps = [_step(_LOAD, _ARCH), _step(_IS, machine.arch, 1), _step(_RETURN, _KILL), _step(_LOAD, _NR)]
    for number in machine.plain:
        steps += [_step(_IS, number, 0, 1), _step(_RETURN, _ALLOW)]
    if threads:
        steps += [_step(_IS, machine.clone, 0, 5), _step(_LOAD, _FIRST), _step(_ANDED, _CLONE_THREAD)]
        steps += [_step(_IS, _CLONE_THREAD, 0, 1), _step(_RETURN, _ALLOW), _step(_RETURN, _NONE)]
    for number, whose in ((machine.tgkill, os.getpid()), (machine.prlimit, 0)):
        steps += [_step(_IS, number, 0, 4), _step(_LOAD, _FIRST), _step(_IS, whose, 0, 1), _step(_RETURN, _ALLOW)]
        steps += [_step(_RETURN, _NONE)]
    return b"".join([*steps, _step(_RETURN, _NONE)])


def _step(code: int, value: int, so: int = 0, otherwise: int = 0) -> bytes:
    """Return an instruction; `so` and `otherwise` are how many instructions a comparison skips if true or false."""
    return struct.pack("=HBBI", code, so, otherwise, value)
