"""Runs a service: settings, logging, broker, health, clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from faststream import FastStream
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from shared.broker.bus import ACK_TIMEOUT, Handler, Outbox, make_broker, subscribe
from shared.broker.middleware import Guard, Mourner
from shared.broker.nodes import NodeWatch, parse_nodes
from shared.broker.streams import consumers_of
from shared.runtime.clock import BrokerClock, Clock, SystemClock
from shared.runtime.health import health_server
from shared.runtime.logging import configure_logging, get_logger
from shared.runtime.priority import stay_ordinary
from shared.runtime.readiness import NotingJetStream, WriteProbe, Writes, notes_on
from shared.runtime.settings import Settings, setting_of
from shared.runtime.tasks import beside
from shared.security.secrets import Vault, installation_key, older_keys
from shared.store.watch import StoreWatch

log = get_logger()
PROVISION_WAIT: Final = timedelta(minutes=1)
PROVISION_LOOK: Final = timedelta(milliseconds=500)
ANSWER: Final = timedelta(seconds=2)
STOP_LOOK: Final = timedelta(milliseconds=500)
"""How often FastStream checks whether to stop, s: each check wakes an idle process."""
GC_AFTER: Final = (20_000, 10, 10)
"""Thresholds of the cyclic garbage collector: cycles are rare here, so 700 buffered packets must not start it."""
LoopMaker = Callable[[], asyncio.AbstractEventLoop]
Lifespan = Callable[[], contextlib.AbstractAsyncContextManager[None]]


@dataclass(slots=True)
class Service:
    """The parts that a service's `build` gets, and those it adds: handlers by durable, background work, probes.

    A probe returns faults, by part, that keep the service from taking work, besides the broker's.
    """

    name: str
    settings: Settings
    clock: Clock
    broker: NatsBroker
    outbox: Outbox
    instance: str
    guard: Guard
    writes: Writes
    write_probe: WriteProbe
    nodes: NodeWatch
    store_watch: StoreWatch
    lifespans: list[Lifespan] = field(default_factory=list)
    probes: list[Callable[[], Mapping[str, str]]] = field(default_factory=list)
    started: bool = False
    _vault: Vault | None = field(default=None, init=False)

    @property
    def vault(self) -> Vault:
        """The vault of the installation's key; a service that asks for none needs no key, and makes none."""
        if self._vault is None:
            self._vault = Vault(installation_key(self.settings), older_keys(self.settings))
        return self._vault

    def handle(self, durable: str, handler: Handler, on_dead: Mourner | None = None) -> None:
        """Handle the messages of a durable consumer; `on_dead(body, reason)` is called for each dead letter."""
        if turns := subscribe(self.broker, durable, handler):
            self.beside(turns.running)
            self.guard.on_pause(durable, turns.again)
            turns.give_back = self.guard.give_back
            self.probes.append(turns.faults)
        if on_dead:
            self.guard.on_dead(durable, on_dead)

    def beside(self, lifespan: Lifespan) -> None:
        """Enter a context once the broker is connected and provisioned, and leave it on stop, last in first out."""
        self.lifespans.append(lifespan)

    def notes(self) -> dict[str, str]:
        """Return notes on problems that do not stop the service."""
        return notes_on(self.clock) | self.nodes.notes() | self.store_watch.notes()

    def js(self) -> JetStreamContext:
        """Return the connected broker's JetStream context, with a timeout of ACK_TIMEOUT."""
        context = NotingJetStream(self.broker.config.connection_state.connection, timeout=ACK_TIMEOUT.total_seconds())
        context.writes = self.writes
        return context


def make_service(name: str, settings: Settings, clock: Clock | None = None) -> Service:
    """Return a service with its parts; nothing connects yet."""
    clock = clock or BrokerClock(SystemClock())
    nodes = parse_nodes(settings.broker_url)
    broker, guard = make_broker(nodes, name, clock)
    instance = settings.instance or f"{socket.gethostname()}-{os.getpid()}"
    writes = Writes(clock)
    outbox = Outbox(broker, name, clock, writes)
    probe = WriteProbe(guard.jetstream, name, clock)
    watches = NodeWatch(nodes), StoreWatch(name, settings)
    return Service(name, settings, clock, broker, outbox, instance, guard, writes, probe, *watches)


async def wait_until_provisioned(service: Service) -> None:
    """Wait until this service's consumers exist; raise TimeoutError after a minute."""
    async with asyncio.timeout(PROVISION_WAIT.total_seconds()):
        while faults := await check(service):
            log.info("service.waiting", **faults)
            await asyncio.sleep(PROVISION_LOOK.total_seconds())


async def readiness(service: Service) -> dict[str, str]:
    """Return the faults that keep this service from taking work."""
    if not service.started:
        return {"service": "starting or stopping"}
    faults = await check_all(service)
    for probe in service.probes:
        faults |= probe()
    return faults


async def check_all(service: Service) -> dict[str, str]:
    """Return the faults of the broker, as `check` does, and of the store."""
    return await check(service) | service.store_watch.faults()


async def check(service: Service) -> dict[str, str]:
    """Return within about 2 s the broker's faults that keep this service from working, by part; empty without any."""
    try:
        async with asyncio.timeout(ANSWER.total_seconds()):
            return await _faults(service)
    except TimeoutError:
        return {"broker": "does not answer"}


async def _faults(service: Service) -> dict[str, str]:
    if not await service.broker.ping(timeout=ANSWER.total_seconds()):
        return {"broker": "does not answer"}
    faults: dict[str, str] = {}
    for spec in consumers_of(service.name):
        try:
            if spec.turns:
                await service.js().stream_info(spec.stream)
            else:
                await service.js().consumer_info(spec.stream, spec.durable)
        except NotFoundError:
            faults[spec.durable] = f"{'stream' if spec.turns else 'consumer'} is missing"
        except NatsError:
            return {"broker": "does not answer"}
    if fault := await service.write_probe():
        faults["broker"] = fault
    elif refused := service.writes.refused():
        faults["broker"] = f"did not take {', '.join(refused)}"
    return faults


def application(service: Service, *, signals: bool = False) -> FastStream:
    """Return a FastStream application of the parts; with `signals`, SIGTERM and SIGINT end it while it starts, too.

    On stop, it waits for running handlers, then ends background work, then closes the connection to the broker.
    """
    stack = contextlib.AsyncExitStack()
    ending = _ended_by_signals if signals else _ended_by_itself

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with stack:
            probe = service.settings.health_port
            await stack.enter_async_context(
                health_server(service.settings.host, probe, lambda: readiness(service), service.notes)
            )
            with ending(app):
                await stack.enter_async_context(beside(service.nodes.watching()))
                await service.broker.connect()
                await wait_until_provisioned(service)
                await service.write_probe.compare()  # before anything gets a date
                await stack.enter_async_context(beside(service.write_probe.comparing()))
                if service.store_watch.wanted:
                    await service.store_watch.look()
                    await stack.enter_async_context(beside(service.store_watch.watching()))
                for enter in service.lifespans:
                    await stack.enter_async_context(enter())
            service.started = True
            gc.freeze()  # a started service keeps its objects: scanning them takes up to 60 ms each time
            gc.set_threshold(*GC_AFTER)
            log.info("service.started", instance=service.instance)
            yield
        log.info("service.stopped")

    async def leave() -> None:
        service.started = False
        await asyncio.gather(*(subscriber.stop() for subscriber in service.broker.subscribers), return_exceptions=True)
        await stack.aclose()

    app = FastStream(service.broker, lifespan=lifespan, on_shutdown=[leave], logger=None)
    return app


@contextlib.contextmanager
def _ended_by_signals(app: FastStream) -> Iterator[None]:
    """Cancel the running task on a signal while the block runs; FastStream checks its own flag only once started."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel if task else app.exit)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, app.exit)


def _ended_by_itself(_app: FastStream) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def run_service(name: str, build: Callable[[Service], None], make_loop: LoopMaker | None = None) -> int:
    """Run a service until SIGTERM or SIGINT, on asyncio's default loop or another; return the process's exit code."""
    try:
        settings = Settings()
    except ValidationError as error:
        configure_logging(name, json=False)
        log.error("settings.refused", **{setting_of(fault): fault["msg"] for fault in error.errors()})
        return 1
    configure_logging(name, json=settings.log_json, level=settings.log_level)
    service = make_service(name, settings)
    build(service)
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(application(service, signals=True).run(sleep_time=STOP_LOOK.total_seconds()))
    except asyncio.CancelledError:
        log.info("service.stopped")
    except (TimeoutError, NatsError, OSError) as error:
        log.error("service.failed", error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def main(name: str, build: Callable[[Service], None], make_loop: LoopMaker | None = None) -> None:
    """Run a service and end the process with its exit code, without the interpreter's slow finalization."""
    stay_ordinary()
    code = run_service(name, build, make_loop)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
