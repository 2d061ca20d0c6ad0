"""Executes a program that cannot outlive its parent: `launch.py PARENT_PID PROGRAM ARGUMENT...`.

It is a separate program, because nothing may run between fork and exec in a process that has threads. It imports as
little as possible, and only the standard library: it runs before each program that the supervisor starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives execve, see prctl(2)
COULD_NOT_RUN = 127


def main(arguments: list[str]) -> int:
    """Request SIGKILL at the parent's death, then execute the program; return only when that fails."""
    parent, command = int(arguments[0]), arguments[1:]
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return COULD_NOT_RUN
    if os.getppid() != parent:  # the parent died before the request
        return COULD_NOT_RUN
    try:
        os.execv(command[0], command)  # noqa: S606  the command comes from the supervisor alone
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
