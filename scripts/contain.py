"""Runs a command and, when it ends, ends every process that it left behind: `contain.py make test`.

The kernel makes orphaned descendants children of this process (PR_SET_CHILD_SUBREAPER), whatever group or session they
moved to, so only descendants of the command are ended. Exits as the command did. Standard library only, Linux.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
GRACE_NS = 5_000_000_000


def children() -> list[int]:
    """Return the direct children of this process, adopted ones too."""
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in own.read_text().split()]


def sweep() -> int:
    """End all remaining children: SIGTERM first, SIGKILL 5 s later. Return how many there were."""
    seen: set[int] = set()
    deadline = time.monotonic_ns() + GRACE_NS
    _reap()
    while left := children():
        number = signal.SIGTERM if time.monotonic_ns() < deadline else signal.SIGKILL
        for pid in left:
            if number == signal.SIGKILL or pid not in seen:
                print(f"contain: left running: {pid} {_command(pid)}", file=sys.stderr)
                os.kill(pid, number)
            seen.add(pid)
        _reap()
        time.sleep(0.05)
    return len(seen)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "?"


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main(command: list[str]) -> int:
    """Run `command` contained; return its exit code, or 128 + the signal that ended it."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: os.kill(process.pid, got))
    ended = 0
    while ended != process.pid:  # orphans that end meanwhile are reaped, as init does
        ended, status = os.waitpid(-1, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    sweep()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
