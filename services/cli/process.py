"""One running program: its process group, its output lines, its exit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from services.cli.lines import LineSplitter

LAUNCH: Final = Path(__file__).with_name("launch.py")
READ_SIZE: Final = 65536
MOST_LAST_READS: Final = 32  # more than a pipe holds
OnLine = Callable[[bytes], None]


class Process:
    """A started program that dies when this process dies. Start it on the main thread, within a running loop.

    `exited` resolves to its exit code (negative: the signal that ended it). Processes that it leaves in its group are
    killed before the group's id can be reused.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], on_line: OnLine) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_line = on_line
        self._lines = LineSplitter()
        # The kernel sends the death signal when the starting *thread* ends, so that must be the main one.
        self._popen = subprocess.Popen(  # noqa: S603  the command comes from the supervisor alone
            [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            process_group=0,
        )
        assert self._popen.stdout is not None  # noqa: S101  PIPE makes it so
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # out of descriptors: no program may run unwatched
            self._popen.kill()
            self._popen.wait()
            self._popen.stdout.close()
            raise
        self._output: IO[bytes] | None = self._popen.stdout
        os.set_blocking(self._output.fileno(), False)
        self._loop.add_reader(self._output.fileno(), self._read)
        self._loop.add_reader(self._pidfd, self._ended)
        self.exited: asyncio.Future[int] = self._loop.create_future()

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self._popen.pid

    def terminate(self) -> None:
        """Ask the program to end (SIGTERM)."""
        if not self.exited.done():
            self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the program and its group at once (SIGKILL)."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.kill()  # while the dead leader still holds the id of its group
        code = self._popen.wait()
        for _ in range(MOST_LAST_READS):
            if not self._read():
                break
        self._close_output()
        self.exited.set_result(code)

    def _read(self) -> bool:
        """Read the available output; return false when there is none left now."""
        if self._output is None:
            return False
        try:
            data = os.read(self._output.fileno(), READ_SIZE)
        except BlockingIOError:
            return False
        for line in self._lines.feed(data):
            self._on_line(line)
        if not data:
            self._close_output()
        return bool(data)

    def _close_output(self) -> None:
        if self._output is not None:
            self._loop.remove_reader(self._output.fileno())
            self._output.close()
            self._output = None
            for line in self._lines.flush():
                self._on_line(line)
