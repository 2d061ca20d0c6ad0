"""Waits for conditions of other processes."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], object], limit_s: float = 30) -> None:
    """Return once `condition()` is true; AssertionError when it is not within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


async def comes(condition: Callable[[], object], limit_s: float = 30) -> None:
    """Return once `condition()` is true, while tasks of the same loop go on; TimeoutError when it is not in time."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  what it looks at belongs to others
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] != b"Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def freeze(pid: int) -> None:
    """Stop a process (SIGSTOP) and wait until each of its threads has stopped; the signal alone does not wait."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(_state(stat) == b"T" for stat in Path(f"/proc/{pid}/task").glob("*/stat")))


def _state(stat: Path) -> bytes:
    try:
        return stat.read_bytes().rsplit(b")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):  # a thread that has ended in between
        return b"T"
