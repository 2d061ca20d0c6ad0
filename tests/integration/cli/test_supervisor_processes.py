"""The supervisor and real child processes, without a broker."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from services.cli.backoff import RestartDelay
from services.cli.datadir import RunProcess
from services.cli.supervisor import Program, Supervisor
from shared.runtime.clock import SystemClock
from tests.support.small_stack import small_program
from tests.support.waiting import is_running, wait_until

SOON = timedelta(milliseconds=20)
LONG = timedelta(seconds=60)
Lines = list[tuple[str, bytes]]


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition)


@pytest.fixture
def lines() -> Lines:
    return []


@pytest.fixture
async def supervisor(lines: Lines) -> AsyncIterator[Supervisor]:
    def sink(name: str, line: bytes) -> None:
        lines.append((name, line))

    made = Supervisor(sink, structlog.get_logger(), SystemClock(), lambda: RestartDelay(first=SOON, most=SOON))
    yield made
    made.kill()
    await made.stop()


def notes(folder: Path, name: str) -> list[str]:
    file = folder / f"{name}.log"
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


async def test_lines_come_with_the_name_of_their_program(supervisor: Supervisor, lines: Lines, tmp_path: Path) -> None:
    supervisor.start(small_program("a", tmp_path, {"REELAY_HTTP_PORT": "81"}))
    supervisor.start(small_program("b", tmp_path, {}))
    await until(lambda: len(lines) == 2)
    assert sorted(lines) == [("a", b"a runs, http 81"), ("b", b"b runs, http None")]


async def test_what_ends_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    keeper = supervisor.start(small_program("a:crashing", tmp_path, {}))
    await until(lambda: notes(tmp_path, "a").count("started") >= 3)
    assert keeper.restarts >= 2
    await supervisor.stop()
    assert keeper.state == "stopped"


async def test_a_killed_program_gets_a_new_process(supervisor: Supervisor, tmp_path: Path) -> None:
    changes: list[dict[str, RunProcess]] = []
    supervisor.on_change = lambda: changes.append(supervisor.snapshot())
    supervisor.start(small_program("a", tmp_path, {}))
    await until(lambda: notes(tmp_path, "a"))
    first = supervisor.snapshot()["a"].pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: notes(tmp_path, "a").count("started") == 2)
    second = supervisor.snapshot()["a"]
    assert second.pid != first
    assert second.restarts == 1
    assert [change["a"].state for change in changes] == ["running", "waiting", "running"]
    assert changes[1]["a"].pid == 0


async def test_a_stop_ends_all_cleanly_and_the_last_ones_last(supervisor: Supervisor, tmp_path: Path) -> None:
    names = ["broker", "a", "b"]
    for name in names:
        supervisor.start(small_program(name, tmp_path, {}))
    await until(lambda: all(notes(tmp_path, name) for name in names))
    pids = [state.pid for state in supervisor.snapshot().values()]
    await supervisor.stop(last=["broker"])
    assert all(notes(tmp_path, name) == ["started", "stopped"] for name in names)
    ends = {name: (tmp_path / f"{name}.log").stat().st_mtime_ns for name in names}
    assert ends["broker"] > max(ends["a"], ends["b"])
    assert not any(is_running(pid) for pid in pids)


async def test_one_that_ignores_the_request_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(small_program("a:stubborn", tmp_path, {}))
    supervisor.start(small_program("b", tmp_path, {}))
    await until(lambda: notes(tmp_path, "a") and notes(tmp_path, "b"))
    pid = supervisor.snapshot()["a"].pid
    await supervisor.stop(grace=timedelta(seconds=1))
    assert not is_running(pid)
    assert notes(tmp_path, "b") == ["started", "stopped"]


async def test_a_stop_during_the_pause_does_not_wait_for_it(tmp_path: Path) -> None:
    slow = Supervisor(
        lambda *_: None, structlog.get_logger(), SystemClock(), lambda: RestartDelay(first=LONG, most=LONG)
    )
    keeper = slow.start(small_program("a:crashing", tmp_path, {}))
    await until(lambda: keeper.state == "waiting" and notes(tmp_path, "a"))
    async with asyncio.timeout(30):
        await slow.stop()
    assert notes(tmp_path, "a") == ["started"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_children_of_a_dead_program_do_not_live_on(
    supervisor: Supervisor, tmp_path: Path, end: signal.Signals
) -> None:
    supervisor.start(small_program("a:parent", tmp_path, {}))
    await until(lambda: notes(tmp_path, "a"))
    grandchild = int((tmp_path / "a.child").read_text())
    os.kill(supervisor.snapshot()["a"].pid, end)
    await until(lambda: not is_running(grandchild))


async def test_a_program_that_does_not_exist_is_tried_again(supervisor: Supervisor, lines: Lines) -> None:
    keeper = supervisor.start(Program("a", ("/does/not/exist",), {}))
    await until(lambda: keeper.restarts >= 2)
    assert ("a", b"/does/not/exist: No such file or directory") in lines


async def test_each_start_gets_a_health_port_of_its_own(supervisor: Supervisor, lines: Lines) -> None:
    show = "import os; print(os.environ['REELAY_HEALTH_PORT'])"
    command = (sys.executable, "-I", "-S", "-c", show)
    supervisor.start(Program("a", command, {}, health=True))
    await until(lambda: len(lines) >= 2)
    assert all(line.isdigit() and int(line) > 0 for _, line in lines)


async def test_what_is_run_once_gives_its_code_and_is_killed_when_late(supervisor: Supervisor, tmp_path: Path) -> None:
    assert await supervisor.run(small_program("a:crashing", tmp_path, {}), LONG) == 3
    with pytest.raises(TimeoutError):
        await supervisor.run(small_program("b", tmp_path, {}), timedelta(seconds=1))
    assert not any(is_running(int(line.split()[1])) for line in (tmp_path / "b.log").read_text().splitlines())


async def test_output_of_a_fast_talker_arrives_whole(supervisor: Supervisor, lines: Lines) -> None:
    talk = "import sys\nfor n in range(20000): sys.stdout.write(f'{n}\\n')\nsys.stdout.write('end')"
    assert await supervisor.run(Program("a", (sys.executable, "-I", "-S", "-c", talk), {}), LONG) == 0
    assert [line for _, line in lines] == [*(str(n).encode() for n in range(20000)), b"end"]
