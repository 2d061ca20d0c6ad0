"""A cluster of three real nats-servers."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.shared_bus import free_port

USER, PASSWORD = "reelay", "p0123456789abcdef"
ONE_USER = f"authorization {{ user: {USER}, password: {PASSWORD} }}"


@dataclass
class Node:
    """A node; `kill` and `start` keep ports and data."""

    name: str
    folder: Path
    port: int
    monitor: int
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"nats://{USER}:{PASSWORD}@{self.address}"

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def wait(self) -> None:
        """Wait until it reports that JetStream and all streams are healthy."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/healthz"):
                return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "log").read_text())


@dataclass
class Cluster:
    nodes: list[Node]

    @property
    def urls(self) -> str:
        """Return what an operator sets: credentials once, and the addresses."""
        return ",".join([self.nodes[0].url, *(node.address for node in self.nodes[1:])])

    def at(self, port: int) -> Node:
        """Return the node that a client is connected to."""
        return next(node for node in self.nodes if node.port == port)


@contextlib.contextmanager
def cluster(folder: Path, size: int = 3, users: str = ONE_USER) -> Iterator[Cluster]:
    """Run a cluster on free ports, ready to take streams; `users` is the part of the configuration with the users."""
    binary = Path(sys.executable).with_name("nats-server")
    routes = [free_port() for _ in range(size)]
    nodes = []
    for number in range(size):
        own = folder / f"n{number}"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        port, monitor = free_port(), free_port()
        conf = own / "server.conf"
        others = ", ".join(f"nats://127.0.0.1:{route}" for route in routes)
        conf.write_text(
            f'server_name: n{number}\nlisten: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitor}"\n'
            f'jetstream {{ store_dir: "{own / "js"}" }}\n'
            f"{users}\n"
            f'cluster {{ name: c, listen: "127.0.0.1:{routes[number]}", routes: [{others}] }}\n'
        )
        nodes.append(Node(f"n{number}", own, port, monitor, [str(binary), "-c", str(conf)]))
    made = Cluster(nodes)
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait()
        yield made
    finally:
        for node in nodes:
            node.kill()
