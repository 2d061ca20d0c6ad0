"""Two of each service on one nats-server, each restarted when it ends; for chaos.py."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.shared_bus import free_port

SERVICES = ("gateway", "scheduler", "ingester", "proxy_encoder", "archiver", "clipper", "exporter", "restreamer",
            "notifier")  # fmt: skip
PAUSE_S = 1.0


@dataclass
class Fault:
    """A fault of a process, and from when to when it lasted (wall clock, s)."""

    name: str
    kind: str
    start: float
    end: float


@dataclass
class Slot:
    """A process that should run, and its current instance, if any."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    frozen: bool = False

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self.starts += 1


@dataclass
class Stack:
    """The slots by name, and their faults."""

    folder: Path
    slots: dict[str, Slot] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    http: list[int] = field(default_factory=list)
    rtmp: list[int] = field(default_factory=list)
    srt: list[int] = field(default_factory=list)
    nats: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def kill(self, name: str) -> None:
        """Send SIGKILL; the process runs again a second later."""
        slot = self.slots[name]
        if slot.process is not None and slot.process.poll() is None:
            now = time.time()
            self.faults.append(Fault(name, "killed", now, now + PAUSE_S))
            slot.process.kill()

    def freeze(self, name: str, seconds: float) -> None:
        """Send SIGSTOP for a while; return at once."""
        process = self.slots[name].process
        if process is None or process.poll() is not None:
            return
        now = time.time()
        self.faults.append(Fault(name, f"frozen {seconds:.0f} s", now, now + seconds))
        process.send_signal(signal.SIGSTOP)

        def thaw() -> None:
            self.closing.wait(seconds)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)

        threading.Thread(target=thaw, daemon=True).start()

    def watch(self) -> None:
        """Restart processes that have ended."""
        while not self.closing.wait(0.2):
            for slot in self.slots.values():
                if slot.process is not None and slot.process.poll() is not None:
                    slot.process.wait()
                    slot.process = None
                    threading.Timer(PAUSE_S, self._start, [slot]).start()

    def _start(self, slot: Slot) -> None:
        if not self.closing.is_set():
            slot.start()

    def logged(self, word: str) -> dict[str, int]:
        """Count how often a word occurs in each log."""
        counts = {name: slot.log.read_text(errors="replace").count(word) for name, slot in self.slots.items()}
        return {name: count for name, count in counts.items() if count}


@contextlib.contextmanager
def stack(folder: Path, secret: str) -> Iterator[Stack]:
    """Run the stack; stop all of it after the block."""
    made = Stack(folder)
    made.nats = free_port()
    binary = str(Path(sys.executable).with_name("nats-server"))
    made.slots["nats"] = Slot(
        "nats", [binary, "-a", "127.0.0.1", "-p", str(made.nats), "-js", "-sd", str(folder / "js")], {},
        folder / "nats.log",
    )  # fmt: skip
    given = {
        "REELAY_NATS_URL": f"nats://127.0.0.1:{made.nats}", "REELAY_DATA_DIR": str(folder / "data"),
        "REELAY_SECRET_KEY": secret, "REELAY_ALLOW_NETS": "127.0.0.0/8",
    }  # fmt: skip
    made.slots["nats"].start()
    subprocess.run(
        [sys.executable, "-m", "shared.broker.provision"], env=os.environ | given, check=True, stdout=subprocess.DEVNULL
    )
    for service in SERVICES:
        for number in range(2):
            ports: dict[str, str] = {}
            if service == "gateway":
                made.http.append(free_port())
                ports["REELAY_HTTP_PORT"] = str(made.http[-1])
            if service == "ingester":
                made.rtmp.append(free_port())
                made.srt.append(free_port())
                ports |= {"REELAY_RTMP_PORT": str(made.rtmp[-1]), "REELAY_SRT_PORT": str(made.srt[-1])}
            module = f"services.{service}"
            if service == "ingester" and number:
                module = "tests.support.ingester_elsewhere"  # as on another machine
            name = f"{service}-{number}"
            made.slots[name] = Slot(name, [sys.executable, "-m", module], given | ports, folder / f"{name}.log")
            made.slots[name].start()
    watcher = threading.Thread(target=made.watch, daemon=True)
    watcher.start()
    try:
        yield made
    finally:
        made.closing.set()
        watcher.join()
        for slot in made.slots.values():
            if slot.process is not None and slot.process.poll() is None:
                slot.process.send_signal(signal.SIGCONT)
                slot.process.kill()
                slot.process.wait()


def plan(seconds: float, kills: int, freezes: int, dice: random.Random) -> list[tuple[float, str, float]]:
    """Return random faults as (s from the start, process, s frozen; 0: killed), of every service and the broker."""
    names = ["nats", *(f"{service}-{number}" for service in SERVICES for number in range(2))]
    weights = [3 if name.startswith(("nats", "ingester", "clipper")) else 1 for name in names]
    moments = sorted(dice.uniform(10, seconds - 15) for _ in range(kills + freezes))
    frozen = set(dice.sample(range(len(moments)), freezes))
    return [
        (moment, dice.choices(names, weights)[0], dice.uniform(2, 20) if number in frozen else 0.0)
        for number, moment in enumerate(moments)
    ]
