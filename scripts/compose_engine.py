"""Docker or podman, whichever is installed, and the stack of compose/ that it runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "compose" / "compose.yaml"
PROJECT = "reelay-check"
LABELS = {"project": "com.docker.compose.project", "service": "com.docker.compose.service",
          "number": "com.docker.compose.container-number"}  # fmt: skip


class MissingEngine(Exception):  # noqa: N818  names what happened
    """Nothing here runs containers."""


class CheckFailed(Exception):  # noqa: N818  names what happened
    """The stack did not do what it should."""


@dataclass(frozen=True)
class Engine:
    """An engine's command, and the command of its compose."""

    program: str
    compose: tuple[str, ...]


def find_engine(wanted: str = "") -> Engine:
    """Return an engine that answers and has compose; MissingEngine says what is missing."""
    reasons = []
    for program, find in (("docker", _docker), ("podman", _podman)):
        if wanted not in {"", program}:
            continue
        found = find()
        if isinstance(found, Engine):
            return found
        reasons.append(f"{program}: {found}")
    raise MissingEngine("\n  ".join(["nothing here runs containers:", *reasons]))


def _docker() -> Engine | str:
    if not shutil.which("docker"):
        return "not installed"
    if not _answers("docker", "info"):
        return "its daemon does not answer; start it, or give this user the right to use it"
    if not _answers("docker", "compose", "version"):
        return "the plugin `docker compose` is missing (package docker-compose-plugin or docker-compose-v2)"
    return Engine("docker", ("docker", "compose"))


def _podman() -> Engine | str:
    if not shutil.which("podman"):
        return "not installed (packages podman and runc or crun)"
    if not _answers("podman", "info"):
        return "`podman info` fails; run it to see why"
    beside = Path(sys.executable).with_name("podman-compose")
    compose = str(beside) if beside.is_file() else shutil.which("podman-compose")
    return (
        Engine("podman", (compose,)) if compose else "podman-compose is missing: .venv/bin/pip install podman-compose"
    )


def _answers(*command: str) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    return False


class Stack:
    """The containers of one compose project; the output of its commands goes to `log`."""

    def __init__(self, engine: Engine, environment: Mapping[str, str], log: Path) -> None:
        self._engine = engine
        self._environment = os.environ | environment
        self._log = log

    def build(self, tag: str, dockerfile: Path, context: Path, options: Sequence[str]) -> None:
        """Build an image; CheckFailed when it cannot be built."""
        if self._engine.program == "podman":
            options = ["--format", "docker", *options]  # the OCI format has no health checks
        self._say(self._engine.program, "build", *options, "-f", str(dockerfile), "-t", tag, str(context))

    def up(self) -> None:
        """Start everything."""
        self._compose("up", "-d", "--no-build")

    def scale(self, service: str, count: int) -> None:
        """Scale a service to `count` containers; podman-compose uses only the last `--scale`."""
        self._compose("up", "-d", "--no-build", "--no-deps", "--scale", f"{service}={count}", service)

    def down(self) -> None:
        """Take everything down, volumes too; failures are in the log."""
        with contextlib.suppress(CheckFailed):
            self._compose("logs", "--tail", "200")
        self.remove_scaled()
        self._compose("down", "-v", "--timeout", "5")

    def remove_scaled(self) -> None:
        """Remove each second container of a service; with these, podman-compose's `down` leaves pod and volumes."""
        labels = [f"label={LABELS['project']}={PROJECT}", f"label={LABELS['number']}=2"]
        found = self._ask("ps", "-aq", *(part for label in labels for part in ("--filter", label))).split()
        if found:
            self._ask("rm", "-f", *found)

    def containers(self, service: str) -> list[str]:
        """List the running containers of a service, oldest first."""
        filters = [f"label={LABELS['project']}={PROJECT}", f"label={LABELS['service']}={service}", "status=running"]
        command = [part for each in filters for part in ("--filter", each)]
        found = self._ask("ps", "-q", *command).split()
        return found if self._engine.program == "podman" else found[::-1]  # docker lists the newest first

    def healthy(self, container: str) -> bool:
        """Return whether a container's health check passes."""
        with contextlib.suppress(CheckFailed):
            if self._engine.program == "podman":  # podman's timers need systemd, which not every machine has
                self._ask("healthcheck", "run", container)
                return True
            return self._ask("inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy"
        return False

    def kill(self, container: str) -> None:
        """Kill a container (SIGKILL)."""
        self._ask("kill", "--signal", "KILL", container)

    def _compose(self, *arguments: str) -> None:
        self._say(*self._engine.compose, "-p", PROJECT, "-f", str(FILE), *arguments)

    def _ask(self, *arguments: str) -> str:
        command = [self._engine.program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment, timeout=120)
        if done.returncode:
            raise CheckFailed(f"{' '.join(command[:3])}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def _say(self, *command: str) -> None:
        with self._log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                                  env=self._environment)  # fmt: skip
        if done.returncode:
            last = self._log.read_text(errors="replace").splitlines()[-8:]
            raise CheckFailed("\n".join([f"`{' '.join(command[-6:])}` failed:", *last, f"(all of it: {self._log})"]))
