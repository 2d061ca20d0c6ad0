"""`reelay up` as a process: real nats-server and provisioning, small stand-ins for the services."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import pytest

from services.cli.datadir import RunFile, read_run_file
from services.cli.errors import StackError
from tests.support.waiting import is_running, wait_until

Start = Callable[..., "Up"]


class Up:
    """A running `reelay up`, its output in a file."""

    def __init__(self, folder: Path, *words: str, **settings: object) -> None:
        self.data = Path(str(settings.pop("DATA_DIR", folder / "data")))
        self.notes = folder
        self.output = folder / "output"
        ports = dict.fromkeys(("HTTP_PORT", "RTMP_PORT", "SRT_PORT", "NATS_PORT"), "0")
        chosen = {"DATA_DIR": self.data, **ports, **settings}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("REELAY_")}
        environment = clean | {f"REELAY_{name}": str(value) for name, value in chosen.items()}
        command = [sys.executable, "-m", "tests.support.small_stack", str(folder), *words]
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_ready(self) -> None:
        wait_until(lambda: "ready: " in self.text() or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.text()

    def run(self) -> RunFile:
        return read_run_file(self.data)

    def end(self) -> int:
        return self.process.wait(60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Up] = []

    def begin(*words: str, **settings: object) -> Up:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Up(folder, *words, **settings))
        return made[-1]

    yield begin
    for up in made:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait(30)


def pids(run: RunFile) -> list[int]:
    return [process.pid for process in run.processes.values() if process.pid]


def starts(up: Up, name: str) -> int:
    log = up.notes / f"{name}.log"
    return log.read_text().count("started") if log.exists() else 0


async def put(url: str, bucket: str, key: str, value: bytes) -> None:
    connection = await nats.connect(url)
    try:
        await (await connection.jetstream(timeout=10).key_value(bucket)).put(key, value)
    finally:
        await connection.close()


async def get(url: str, bucket: str, key: str) -> bytes | None:
    connection = await nats.connect(url, max_reconnect_attempts=300, reconnect_time_wait=0.1)
    try:
        return (await (await connection.jetstream(timeout=10).key_value(bucket)).get(key)).value
    finally:
        await connection.close()


async def be_refused(url: str) -> None:
    with pytest.raises(nats.errors.Error):
        await nats.connect(url, allow_reconnect=False)


def test_a_stack_starts_says_so_and_stops_cleanly(start: Start) -> None:
    up = start("a", "b")
    up.wait_ready()
    wait_until(lambda: starts(up, "a") and starts(up, "b"))
    run = up.run()
    assert list(run.processes) == ["nats", "a", "b"]
    assert f"a runs, http {run.ports['http']}" in up.text()
    assert ((up.data / "run.json").stat().st_mode & 0o777, (up.data / "nats").stat().st_mode & 0o777) == (0o600, 0o700)
    up.process.send_signal(signal.SIGTERM)
    assert up.end() == 0
    assert not any(is_running(pid) for pid in pids(run))
    assert (up.notes / "a.log").read_text().splitlines()[-1].startswith("stopped")
    assert not (up.data / "run.json").exists()
    assert (up.data / "nats" / "password").read_text() not in up.text()


def test_a_killed_supervisor_leaves_nothing_and_its_folder_can_be_used_again(start: Start) -> None:
    up = start("a", "b:stubborn")
    up.wait_ready()
    wait_until(lambda: starts(up, "a") and starts(up, "b"))
    run = up.run()
    asyncio.run(put(run.nats_url, "keys", "k", b"kept"))
    up.process.kill()
    up.end()
    wait_until(lambda: not any(is_running(pid) for pid in pids(run)))
    with pytest.raises(StackError, match="no stack runs"):
        up.run()
    again = start("a", DATA_DIR=up.data, NATS_PORT=run.ports["nats"], HTTP_PORT=run.ports["http"])
    again.wait_ready()
    assert again.run().ports["nats"] == run.ports["nats"]
    assert asyncio.run(get(again.run().nats_url, "keys", "k")) == b"kept"


def test_a_second_stop_request_kills_at_once(start: Start) -> None:
    up = start("a:stubborn")
    up.wait_ready()
    wait_until(lambda: starts(up, "a"))
    run = up.run()
    up.process.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in up.text())
    up.process.send_signal(signal.SIGINT)
    up.end()
    assert "killing everything" in up.text()
    assert not any(is_running(pid) for pid in pids(run))


def test_the_broker_wants_its_password_and_comes_back_with_all_it_acknowledged(start: Start) -> None:
    up = start("a")
    up.wait_ready()
    run = up.run()
    asyncio.run(put(run.nats_url, "keys", "k", b"acknowledged"))
    os.kill(run.processes["nats"].pid, signal.SIGKILL)
    wait_until(lambda: up.run().processes["nats"].restarts == 1 and up.run().processes["nats"].state == "running")
    assert asyncio.run(get(run.nats_url, "keys", "k")) == b"acknowledged"
    assert up.run().processes["a"].restarts == 0
    asyncio.run(be_refused(f"nats://127.0.0.1:{run.ports['nats']}"))


def test_a_taken_port_is_named_with_its_setting_before_anything_starts(start: Start) -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        http, srt = tcp.getsockname()[1], udp.getsockname()[1]
        up = start("a", HTTP_PORT=http, SRT_PORT=srt)
        assert up.end() == 1
    assert f"TCP port {http} (REELAY_HTTP_PORT) is taken by another program" in up.text()
    assert f"UDP port {srt} (REELAY_SRT_PORT) is taken by another program" in up.text()
    assert not (up.data / "nats").exists()
    assert starts(up, "a") == 0


def test_two_stacks_run_beside_each_other_but_not_on_one_folder(start: Start) -> None:
    first, second = start("a"), start("a")
    first.wait_ready()
    second.wait_ready()
    intruder = start("a", DATA_DIR=first.data)
    assert intruder.end() == 1
    assert f"another stack (process {first.process.pid}) uses {first.data}" in intruder.text()
    assert first.run().pid == first.process.pid
    assert not set(first.run().ports.values()) & set(second.run().ports.values())


def test_a_broker_of_the_operator_is_used_instead_of_our_own(start: Start, nats: object) -> None:
    up = start("a", NATS_URL=nats.url)  # type: ignore[attr-defined]  # the fixture hides the module of its name
    up.wait_ready()
    assert list(up.run().processes) == ["a"]
    assert "nats" not in up.run().ports
    assert not (up.data / "nats").exists()


def test_a_folder_that_cannot_be_used_is_a_clear_error(start: Start, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    up = start("a", DATA_DIR=blocked / "data")
    assert up.end() == 1
    assert "(REELAY_DATA_DIR): Not a directory" in up.text()
