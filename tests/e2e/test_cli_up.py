"""`reelay up` with the real services: all become ready, those with ports come back after a kill -9, all stop."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.datadir import RunFile, read_run_file
from services.cli.stack import SERVICES
from tests.support.waiting import is_running, wait_until

LIMIT_S = 120
KILLED = ("nats", "ingester", "gateway")  # those that must get their ports back


class Up:
    def __init__(self, folder: Path) -> None:
        self.data, self.output = folder / "data", folder / "output"
        ports = {f"REELAY_{name}_PORT": "0" for name in ("HTTP", "RTMP", "SRT", "NATS")}
        environment = os.environ | ports | {"REELAY_DATA_DIR": str(self.data)}
        environment.pop("REELAY_NATS_URL", None)
        with self.output.open("wb") as file:
            command = [sys.executable, "-m", "services.cli", "up"]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def run(self) -> RunFile:
        return read_run_file(self.data)

    def is_ready(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.run().processes[name].health_port}/readyz", timeout=5):
                return True
        except OSError:
            return False


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    stack = Up(tmp_path)
    yield stack
    if stack.process.poll() is None:
        stack.process.kill()
        stack.process.wait(30)


def test_nine_services_start_survive_kill_9_and_stop(up: Up) -> None:
    wait_until(lambda: "ready: http" in up.text() or up.process.poll() is not None, LIMIT_S)
    assert up.process.poll() is None, up.text()
    before = up.run().processes
    assert set(before) == {"nats", *SERVICES}
    assert all(process.restarts == 0 for process in before.values()), up.text()

    key = (up.data / "admin.key").read_text().strip()
    assert key
    assert key not in up.text()  # the output is a file here

    for name in KILLED:
        os.kill(before[name].pid, signal.SIGKILL)
    wait_until(lambda: all(up.run().processes[name].pid not in {0, before[name].pid} for name in KILLED), 60)
    wait_until(lambda: all(up.is_ready(name) for name in SERVICES), LIMIT_S)
    assert {name for name, process in up.run().processes.items() if process.restarts} == set(KILLED), up.text()

    after = up.run().processes
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0, up.text()
    stopped = {line.split(" ")[0] for line in up.text().splitlines() if "service.stopped" in line}
    assert stopped == set(SERVICES), up.text()  # each in its own way, none merely killed
    assert not any(is_running(process.pid) for process in after.values())
