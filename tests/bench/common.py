"""Shared by the benches: processes and their load, waiting, tables."""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
import psutil

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
QUIET = [FFMPEG, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
MIB = 2**20


class Spent(NamedTuple):
    """CPU seconds of processes so far, and their current memory in MiB; `own` excludes shared memory."""

    at: float
    user: float
    system: float
    resident: float
    own: float


def spent(pids: Sequence[int]) -> Spent:
    """Measure processes.

    The kernel counts user and system time by what runs when its clock ticks, which is too much for a process that the
    clock wakes. So the sum is the process's CPU clock (clock_getcpuclockid(3)), and the ticks only divide it.
    """
    user = system = resident = own = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        times, memory = process.cpu_times(), process.memory_full_info()
        scale = time.clock_gettime(~pid << 3 | 2) / max(times.user + times.system, 0.01)
        user, system = user + times.user * scale, system + times.system * scale
        resident, own = resident + memory.rss / MIB, own + memory.uss / MIB
    return Spent(time.monotonic(), user, system, resident, own)


class Load(NamedTuple):
    """CPU in percent of one core."""

    user: float
    system: float

    @property
    def both(self) -> float:
        return self.user + self.system


def load(before: Spent, after: Spent) -> Load:
    """Return the load between two measurements."""
    elapsed = after.at - before.at
    return Load((after.user - before.user) / elapsed * 100, (after.system - before.system) / elapsed * 100)


@contextlib.contextmanager
def running(
    commands: Sequence[Sequence[str]], log: Path, apart_s: float = 0.0
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run commands, started `apart_s` one after the other; end them, each by its own handle."""
    processes: list[subprocess.Popen[bytes]] = []
    with log.open("ab") as file:
        try:
            for command in commands:
                processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file))
                time.sleep(apart_s)
            yield processes
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a free port, for a server that cannot take 0."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def quantile(values: Sequence[float], part: float) -> float:
    """Return a quantile: the smallest value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(max(-int(-len(ordered) * part // 1) - 1, 0), len(ordered) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a plain text table; all but the first column are right-aligned."""
    cells = [list(head), *([_shown(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def machine() -> str:
    """Describe the machine on which the numbers were measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    busy = ", ".join(f"{value:.1f}" for value in psutil.getloadavg())
    return f"{psutil.cpu_count()} cores ({names[0] if names else 'unknown'}), load average {busy}"
