"""Set-up on real folders and processes, without fetching anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.setup_scripts import SCRIPTS, setup_env, setup_host
from tests.support.waiting import is_running, wait_until


def bare(tmp_path: Path) -> setup_env.Setup:
    for name in setup_env.INPUTS:
        (tmp_path / name).write_text("")
    host = setup_host.Host()
    base = getattr(sys, "_base_executable", None) or sys.executable
    return setup_env.Setup(tmp_path, base, host, setup_host.Apt(host, allowed=False))


def test_a_venv_is_made_without_pip_and_pip_is_put_into_it(tmp_path: Path) -> None:
    setup = bare(tmp_path)
    assert not setup._usable()
    setup._create()
    assert setup._usable()
    assert not setup._has_pip()
    setup._ensure_pip()
    assert setup._has_pip()
    assert setup.current() is not None


def test_what_was_broken_off_is_cleared_away(tmp_path: Path) -> None:
    setup = bare(tmp_path)
    setup._create()
    setup.unfinished.touch()
    leftover = setup.venv / "half-unpacked"
    leftover.touch()
    assert not setup._usable()
    setup._create()
    assert not leftover.exists()
    assert setup._usable()


def test_a_second_set_up_of_one_folder_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []
    hold = (
        "import sys; from pathlib import Path; from setup_env import alone\n"
        "with alone(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": SCRIPTS}
    first = subprocess.Popen(command, **options)
    assert first.stdout.readline() == b"held\n"
    second = subprocess.Popen(command, **options)
    assert b"waiting" in second.stderr.readline()
    order.append("second waits")
    first.communicate(timeout=30)
    assert second.stdout.readline() == b"held\n"
    second.communicate(timeout=30)


@pytest.mark.parametrize("code", [0, 3])
def test_contain_ends_what_a_command_leaves_behind_and_keeps_its_code(tmp_path: Path, code: int) -> None:
    pid_file = tmp_path / "pid"
    leave = f"setsid sleep 600 & echo $! > {pid_file}; exit {code}"
    done = subprocess.run(
        [sys.executable, SCRIPTS / "contain.py", "sh", "-c", leave], check=False, capture_output=True, timeout=60
    )
    assert done.returncode == code
    wait_until(pid_file.exists)
    assert not is_running(int(pid_file.read_text()))
    assert b"left running" in done.stderr


def test_setup_names_the_python_that_it_needs(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "setup"
    script.parent.mkdir()
    script.write_bytes((SCRIPTS / "setup").read_bytes())
    for name in ("dirname", "sh"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    environment = {"PATH": str(tmp_path), "PYTHON": os.devnull}
    done = subprocess.run(["/bin/sh", script], env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
