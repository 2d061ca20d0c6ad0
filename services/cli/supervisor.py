"""Keeps programs running: restarts those that end, stops all in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from structlog.typing import FilteringBoundLogger

from services.cli.backoff import RestartDelay
from services.cli.datadir import RunProcess, State
from services.cli.ports import free_port
from services.cli.process import Process
from shared.runtime.clock import Clock

LineSink = Callable[[str, bytes], None]
STOP_GRACE: Final = timedelta(seconds=7)  # plus the broker's: below the 10 s that a stop may take
BROKER_GRACE: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run. `health`: set REELAY_HEALTH_PORT to a free port for it.

    `on_line` receives each line of its output; `keep_line` returns whether a line is shown.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health: bool = False
    keep_line: Callable[[bytes], bool] = lambda _line: True
    on_line: Callable[[bytes], None] = lambda _line: None


class Keeper:
    """One program that is restarted whenever it ends, until it is stopped."""

    def __init__(self, program: Program, supervisor: Supervisor) -> None:
        self.program = program
        self.restarts = 0
        self.health_port = 0
        self.process: Process | None = None
        self.begun = asyncio.Event()  # set once it was started and `on_change` was called
        self._supervisor = supervisor
        self._delay = supervisor.make_delay()
        self._stopping = asyncio.Event()
        self.task = asyncio.create_task(self._keep(), name=program.name)

    @property
    def state(self) -> State:
        """Whether it runs, waits for its next start, or was stopped."""
        if self.process is not None:
            return "running"
        return "stopped" if self.task.done() else "waiting"

    async def stop(self, grace: timedelta) -> None:
        """End the program: SIGTERM, and SIGKILL after `grace`."""
        self.terminate()
        _, late = await asyncio.wait([self.task], timeout=grace.total_seconds())
        if late:
            self._supervisor.log.warning("process.killed", name=self.program.name, grace_s=grace.total_seconds())
            self.kill()
            await self.task

    def terminate(self) -> None:
        """Send SIGTERM to the program and do not restart it."""
        self._stopping.set()
        if self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        """Kill the program and do not restart it."""
        self._stopping.set()
        if self.process is not None:
            self.process.kill()

    async def restart(self, grace: timedelta) -> None:
        """End the program as `stop` does, but restart it after the usual pause."""
        process = self.process
        if process is None:
            return
        process.terminate()
        await asyncio.wait([process.exited], timeout=grace.total_seconds())
        process.kill()  # no effect when it has ended

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            started = self._supervisor.clock.monotonic_ns()
            code = await self._run_once()
            ran = timedelta(microseconds=(self._supervisor.clock.monotonic_ns() - started) // 1000)
            if self._stopping.is_set():
                return
            pause = self._delay.after(ran)
            self._supervisor.log.warning(
                "process.ended", name=self.program.name, code=code, restart_in_s=pause.total_seconds()
            )
            self._supervisor.changed()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause.total_seconds())
            self.restarts += 1

    async def _run_once(self) -> int:
        environment = dict(self.program.environment)
        try:
            if self.program.health:
                # A new port for each start, so that a port taken meanwhile does not make it fail again.
                self.health_port = free_port()
                environment["REELAY_HEALTH_PORT"] = str(self.health_port)
            self.process = Process(self.program.command, environment, self._line)
        except OSError as error:  # out of processes, memory or descriptors: try again later
            self._supervisor.log.error("process.not_started", name=self.program.name, error=error.strerror)
            return -1
        self._supervisor.changed()
        self.begun.set()
        try:
            return await self.process.exited
        finally:
            self.process = None

    def _line(self, line: bytes) -> None:
        self.program.on_line(line)
        if self.program.keep_line(line):
            self._supervisor.sink(self.program.name, line)


class Supervisor:
    """The programs of one stack, in start order; `on_change` is called when any starts or ends."""

    def __init__(
        self,
        sink: LineSink,
        log: FilteringBoundLogger,
        clock: Clock,
        make_delay: Callable[[], RestartDelay] = RestartDelay,
    ) -> None:
        self.sink, self.log, self.clock, self.make_delay = sink, log, clock, make_delay
        self.keepers: dict[str, Keeper] = {}
        self.on_change: Callable[[], None] = lambda: None
        self._once: set[Process] = set()

    def changed(self) -> None:
        """Call `on_change`: a program started or ended."""
        self.on_change()

    def start(self, program: Program) -> Keeper:
        """Start a program and keep it running."""
        keeper = self.keepers[program.name] = Keeper(program, self)
        return keeper

    async def run(self, program: Program, limit: timedelta) -> int:
        """Run a program once and return its exit code; after `limit`, kill it and raise TimeoutError."""
        process = Process(program.command, program.environment, lambda line: self.sink(program.name, line))
        self._once.add(process)
        try:
            async with asyncio.timeout(limit.total_seconds()):
                return await asyncio.shield(process.exited)
        finally:
            process.kill()
            await process.exited
            self._once.discard(process)

    async def stop(self, last: Iterable[str] = (), grace: timedelta = STOP_GRACE) -> None:
        """Stop all programs, the last started first; those named in `last` after all others have ended."""
        late = set(last)
        others = [keeper for name, keeper in reversed(self.keepers.items()) if name not in late]
        await asyncio.gather(*(keeper.stop(grace) for keeper in others))
        await asyncio.gather(*(self.keepers[name].stop(BROKER_GRACE) for name in late & self.keepers.keys()))
        self.changed()

    def kill(self) -> None:
        """Kill all programs at once."""
        for keeper in self.keepers.values():
            keeper.kill()
        for process in self._once:
            process.kill()

    def snapshot(self) -> dict[str, RunProcess]:
        """Return each program's state for run.json."""
        return {
            name: RunProcess(
                pid=keeper.process.pid if keeper.process else 0,
                state=keeper.state,
                restarts=keeper.restarts,
                health_port=keeper.health_port,
            )
            for name, keeper in self.keepers.items()
        }
