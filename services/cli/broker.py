"""The nats-server of a stack for which no broker is set: its configuration, start and readiness.

It listens on loopback only, for one user with a generated password. JetStream's files are flushed to disk every
SYNC_INTERVAL: acknowledged messages survive a kill -9 of the server (they are in the kernel's page cache), and a loss
of power costs at most that interval. Flushing at each message would cost every REST call a disk flush.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sysconfig
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from services.cli.errors import StackError
from services.cli.supervisor import Program
from shared.runtime.clock import Clock
from shared.security.secrets import write_private
from shared.store.reserve import Reserve

NAME: Final = "nats"
USER: Final = "reelay"
HOST: Final = "127.0.0.1"
SYNC_INTERVAL: Final = "1s"
# Fixed, because the default (three quarters of the free disk) shrinks as the disk fills and would then refuse streams.
MAX_FILE_STORE: Final = 64 << 30
MAX_MEMORY_STORE: Final = 256 << 20
# Lines to hide: about forty INFO lines at each start, and a warning about our own generated password.
QUIET: Final = (b" [INF] ", b"Plaintext passwords detected")
ERRORS: Final = (b" [ERR] ", b" [WRN] ", b" [FTL] ")
FAILED_WRITES: Final = (b"rite error", b"no space left on device", b"disk quota exceeded", b"will be DISABLED")
LEAST_ROOM: Final = 4 << 20
LOOK_S: Final = 1.0


class EmbeddedBroker:
    """A nats-server with its files in `folder`, on `port`."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._password = ""

    @property
    def url(self) -> str:
        """The URL that services connect to, including the password."""
        return f"nats://{USER}:{self._password}@{HOST}:{self._port}"

    def prepare(self, on_line: Callable[[bytes], None], *, verbose: bool) -> Program:
        """Write the configuration and return the program to run; StackError when there is no nats-server."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = self._folder / "password"
        write_private(secret, secrets.token_urlsafe(24))
        self._password = secret.read_text().strip()
        configuration = self._folder / "nats-server.conf"
        configuration.unlink(missing_ok=True)
        write_private(configuration, json.dumps(self._configuration(), indent=1))
        return Program(
            name=NAME,
            command=(find_server(), "-c", str(configuration)),
            environment=dict(os.environ),
            keep_line=lambda line: verbose or not any(part in line for part in QUIET),
            on_line=on_line,
        )

    def _configuration(self) -> dict[str, object]:
        """Return the server's configuration; JSON is valid in its language."""
        return {
            "server_name": "reelay",
            "host": HOST,
            "port": self._port,
            "authorization": {"user": USER, "password": self._password},
            "jetstream": {
                "store_dir": str(self._folder / "store"),
                "sync_interval": SYNC_INTERVAL,
                "max_file_store": MAX_FILE_STORE,
                "max_memory_store": MAX_MEMORY_STORE,
            },
        }

    async def wait_until_ready(self, clock: Clock, limit: timedelta) -> None:
        """Wait until the server answers, which it does once its streams are recovered; StackError after `limit`."""
        deadline = clock.monotonic_ns() + limit // timedelta(microseconds=1) * 1000
        while clock.monotonic_ns() < deadline:
            if await self._greets():
                return
            await asyncio.sleep(0.05)
        raise StackError(f"nats-server did not answer within {limit.total_seconds():.0f} s; its lines above say why")

    async def _greets(self) -> bool:
        """Return whether the server sends its INFO line with JetStream enabled (the NATS client protocol)."""
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(HOST, self._port)
                try:
                    line = await reader.readline()
                finally:
                    writer.close()
            return line.startswith(b"INFO ") and bool(json.loads(line[5:]).get("jetstream"))
        return False


def says_write_failed(line: bytes) -> bool:
    """Return whether a line reports a failed write: `[ERR] Filestore [EVENTS] Critical write error: ...`.

    nats-server reports it once. The message was not acknowledged, but the stream accepts no more messages until the
    server is restarted, although JetStream runs on (`/healthz?js-enabled-only=true` answers 200).
    """
    return any(level in line for level in ERRORS) and any(part in line for part in FAILED_WRITES)


class BrokerCare:
    """Restarts nats-server after a failed write, once the disk has room."""

    def __init__(self, reserve: Reserve, restart: Callable[[], Awaitable[None]], log: FilteringBoundLogger) -> None:
        self._reserve, self._restart, self._log = reserve, restart, log
        self._failed = False

    def line(self, line: bytes) -> None:
        """Check a line of nats-server's output for a failed write."""
        if not self._failed and says_write_failed(line):
            self._failed = True
            self._log.error("broker.write_failed", hint="it is started again once the disk has room")

    def has_room(self) -> bool:
        """Return whether half the reserve is free; recordings stop earlier, so less means something else fills it."""
        try:
            room = self._reserve.room()
        except OSError:
            return False
        return room.free >= max(self._reserve.kept(room) // 2, LEAST_ROOM)

    async def run(self) -> None:
        """Watch for failed writes until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._failed and self.has_room():
                self._log.info("broker.restarting")
                await self._restart()
                self._failed = False  # lines that the old server wrote while it ended do not count


def find_server() -> str:
    """Return the path of nats-server: the wheel's, beside our Python, or one on the PATH; StackError without one."""
    ours = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    if found := ours or shutil.which("nats-server"):
        return str(Path(found).resolve())
    raise StackError("nats-server is not installed: run scripts/setup, or set REELAY_NATS_URL to a broker of yours")
