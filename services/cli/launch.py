"""Becomes a program that cannot outlive its parent: `launch.py PARENT_PID PROGRAM ARGUMENT...`.

A program of its own, because nothing may run between fork and exec of a process that has threads. Standard library
only, and as little of it as can be: it runs before each program that the supervisor starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives execve, see prctl(2)
COULD_NOT_RUN = 127


def main(arguments: list[str]) -> int:
    """Ask for SIGKILL at the parent's death, then become the program; returns only when that fails."""
    parent, command = int(arguments[0]), arguments[1:]
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return COULD_NOT_RUN
    if os.getppid() != parent:  # it died before we asked
        return COULD_NOT_RUN
    try:
        os.execv(command[0], command)  # noqa: S606  the command comes from the supervisor alone
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
