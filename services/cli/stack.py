"""The whole stack on one machine: broker, provisioning, the nine services."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

import services
from services.cli import ports
from services.cli.broker import HOST, NAME, BrokerCare, EmbeddedBroker
from services.cli.datadir import DataDirLock, RunFile, remove_run_file, write_run_file
from services.cli.errors import StackError
from services.cli.health import ready
from services.cli.lines import LineStyle, LineWriter
from services.cli.ports import Port
from services.cli.rotation import Rotation
from services.cli.supervisor import BROKER_GRACE, Program, Supervisor
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.settings import Settings
from shared.runtime.tasks import end_task
from shared.security.secrets import installation_key
from shared.store.reserve import Reserve

# In start order: services that only answer come first, services that accept work last; a stop goes the other way.
SERVICES: Final = (
    "scheduler", "archiver", "clipper", "exporter", "notifier", "proxy-encoder", "restreamer", "ingester", "gateway",
)  # fmt: skip
CODE: Final = Path(services.__path__[0]).resolve().parent
OWN: Final = "reelay"
PROVISION: Final = "provision"
LINE_NAMES: Final = (OWN, NAME, PROVISION, *SERVICES)
# The gateway prints a new admin key, but its output may go to a file here; `reelay up` prints it to terminals only.
ADMIN_KEY_LINE: Final = b"Admin API key: "
BROKER_START: Final = timedelta(seconds=60)  # recovering large streams takes a while
PROVISION_LIMIT: Final = timedelta(seconds=60)
WAITING_TOLD_NS: Final = 15_000_000_000
PORT_PATIENCE: Final = timedelta(seconds=2)  # time for processes of a killed stack to release theirs
# One heap for all threads, which take turns anyway: with one each, an ingested stream takes 50 % more memory.
ALLOCATOR: Final = {"MALLOC_ARENA_MAX": "1"}

Programs = Callable[[Mapping[str, str]], Iterable[Program]]


@dataclass(frozen=True, slots=True)
class Output:
    """Where the lines of all programs go: a file descriptor, and the style of the lines."""

    target: int
    colour: bool = False
    json_lines: bool = False


def service_programs(environment: Mapping[str, str]) -> list[Program]:
    """Return the services as programs, in start order."""
    modules = {name: f"services.{name.replace('-', '_')}" for name in SERVICES}
    return [
        Program(name, _python(module), environment, health=True, keep_line=lambda line: ADMIN_KEY_LINE not in line)
        for name, module in modules.items()
    ]


class Stack:
    """A stack: call `start`, and always `stop` after it; needs a running loop on the main thread."""

    def __init__(
        self, settings: Settings, output: Output, programs: Programs | None = None, clock: Clock | None = None
    ) -> None:
        data_dir = settings.data_dir.resolve()
        self.settings = settings.model_copy(update={"data_dir": data_dir})
        self.nats_url = settings.nats_url
        self.ports: dict[str, Port] = {}
        self._output = output
        self._programs = programs or service_programs
        self._clock = clock or SystemClock()
        style = LineStyle(LINE_NAMES, colour=output.colour, json_lines=output.json_lines)
        rotation = Rotation(settings.log_size_bytes, settings.log_files)
        self._writer = LineWriter(output.target, style, rotation)
        self.log = self._make_log()
        self.supervisor = Supervisor(self._writer.line, self.log, self._clock)
        self.supervisor.on_change = self._write_run_file
        self._lock: DataDirLock | None = None
        self._care: asyncio.Task[None] | None = None

    def say(self, text: str) -> None:
        """Write a line for the person at the terminal."""
        self._writer.line(OWN, text.encode())

    async def start(self) -> None:
        """Start everything; StackError, with a message for people, when that fails. Call `stop` even then."""
        self._lock = DataDirLock(self.settings.data_dir)
        await self._take_ports()
        installation_key(self.settings)  # made once here, not by nine services at the same time
        if not self.nats_url:
            await self._start_broker()
        environment = self._environment()
        await self._provision(environment)
        for program in self._programs(environment):
            self.supervisor.start(program)

    async def wait_until_ready(self) -> None:
        """Wait until every program runs, every service reports ready, and the HTTP and RTMP ports are open."""
        await asyncio.gather(*(keeper.begun.wait() for keeper in self.supervisor.keepers.values()))
        opens = {"gateway": self.ports["http"].number, "ingester": self.ports["rtmp"].number}
        waiting = {name for name, keeper in self.supervisor.keepers.items() if keeper.program.health}
        told = self._clock.monotonic_ns()
        while waiting:
            if self._clock.monotonic_ns() - told > WAITING_TOLD_NS:
                self.log.info("stack.waiting", services=sorted(waiting))
                told = self._clock.monotonic_ns()
            for name in sorted(waiting):
                port = self.supervisor.keepers[name].health_port
                opened = name not in opens or ports.listening(opens[name])
                if opened and await ready(self.settings.host, port):
                    waiting.discard(name)
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Stop everything within 10 s, the broker last, and release the folder."""
        if self._care is not None:
            await end_task(self._care)
        await self.supervisor.stop(last=(NAME,))
        self.close()

    def kill(self) -> None:
        """Kill everything at once."""
        self.supervisor.kill()

    def close(self) -> None:
        """Release the folder and close the output; no program may run any more."""
        if self._lock is not None:
            remove_run_file(self.settings.data_dir)
            self._lock.release()
            self._lock = None
        self._writer.close()

    async def _take_ports(self) -> None:
        s = self.settings
        wanted = {
            "http": Port("REELAY_HTTP_PORT", "TCP", s.host, s.http_port),
            "rtmp": Port("REELAY_RTMP_PORT", "TCP", s.host, s.rtmp_port),
            "srt": Port("REELAY_SRT_PORT", "UDP", s.host, s.srt_port),
        }
        if not self.nats_url:
            wanted["nats"] = Port("REELAY_NATS_PORT", "TCP", HOST, s.nats_port)
        deadline = self._clock.monotonic_ns() + PORT_PATIENCE // timedelta(microseconds=1) * 1000
        while True:
            self.ports = {name: ports.choose(port) for name, port in wanted.items()}
            faults = ports.faults(self.ports.values())
            if not faults:
                return
            if self._clock.monotonic_ns() > deadline:
                raise StackError("\n".join(faults))
            await asyncio.sleep(0.1)

    async def _start_broker(self) -> None:
        folder = self.settings.data_dir / "nats"
        broker = EmbeddedBroker(folder, self.ports["nats"].number)
        reserve = Reserve(folder, self.settings.disk_reserve_bytes)
        care = BrokerCare(reserve, lambda: keeper.restart(BROKER_GRACE), self.log)
        keeper = self.supervisor.start(broker.prepare(care.line, verbose=self.settings.log_level.upper() == "DEBUG"))
        self._care = asyncio.create_task(care.run(), name="broker-care")
        self.nats_url = broker.url
        await broker.wait_until_ready(self._clock, BROKER_START)

    async def _provision(self, environment: dict[str, str]) -> None:
        program = Program(PROVISION, _python("shared.broker.provision"), environment)
        try:
            code = await self.supervisor.run(program, PROVISION_LIMIT)
        except TimeoutError:
            code = -1
        if code != 0:
            raise StackError("the broker could not be provisioned; the lines above say why")

    def _environment(self) -> dict[str, str]:
        """Return the environment of every service, with the settings as resolved."""
        path = os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH"))))
        chosen = {f"REELAY_{name.upper()}_PORT": str(port.number) for name, port in self.ports.items()}
        return {
            **ALLOCATOR,
            **os.environ,
            **chosen,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "REELAY_DATA_DIR": str(self.settings.data_dir),
            "REELAY_NATS_URL": self.nats_url,
        }

    def _write_run_file(self) -> None:
        if self._lock is None:
            return
        numbers = {name: port.number for name, port in self.ports.items()}
        run = RunFile(pid=os.getpid(), nats_url=self.nats_url, ports=numbers, processes=self.supervisor.snapshot())
        try:
            write_run_file(self.settings.data_dir, run)
        except OSError as error:  # a full disk must not end the supervisor of a recording
            self.log.error("run_file.not_written", error=error.strerror)

    def _make_log(self) -> FilteringBoundLogger:
        renderer = (
            structlog.processors.JSONRenderer()
            if self._output.json_lines
            else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=32, sort_keys=False)
        )
        log: FilteringBoundLogger = structlog.wrap_logger(
            _LineLogger(self._writer),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                renderer,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        return log


class _LineLogger:
    """Passes structlog's finished lines to the writer, under our own name."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def msg(self, message: str) -> None:
        self._writer.line(OWN, message.encode())

    debug = info = warning = error = msg


def _python(module: str) -> tuple[str, ...]:
    """Return the command that runs one of our modules; -P keeps the working directory from hiding it."""
    return (sys.executable, "-P", "-m", module)
