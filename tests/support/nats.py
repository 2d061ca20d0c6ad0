"""A real nats-server for a test."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.broker.provision import provision_url


@dataclass
class NatsServer:
    """A running server; `kill` and `start` keep port and data. It includes `folder`/server.conf if that exists."""

    folder: Path
    port: int = -1
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        ports = self.folder / "ports"
        shutil.rmtree(ports, ignore_errors=True)
        ports.mkdir(parents=True)
        binary = Path(sys.executable).with_name("nats-server")
        command = [
            binary,
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-js",
            "-sd",
            self.folder / "js",
            "--ports_file_dir",
            ports,
        ]
        if (self.folder / "server.conf").exists():
            command += ["-c", self.folder / "server.conf"]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        self.port = self._read_port(ports)

    def _read_port(self, ports: Path) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for file in ports.glob("*.ports"):
                with contextlib.suppress(ValueError, KeyError, IndexError):
                    return int(json.loads(file.read_text())["nats"][0].rsplit(":", 1)[1])
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.02)
        raise TimeoutError("nats-server did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@contextlib.contextmanager
def nats_server(folder: Path, *, provisioned: bool = True) -> Iterator[NatsServer]:
    """Run a server with JetStream in `folder` on a free port, with Reelay's streams, consumers and buckets."""
    folder.mkdir(parents=True, exist_ok=True)
    server = NatsServer(folder)
    server.start()
    try:
        if provisioned:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:  # also works within a running event loop
                pool.submit(asyncio.run, provision_url(server.url, 1)).result()
        yield server
    finally:
        server.kill()
