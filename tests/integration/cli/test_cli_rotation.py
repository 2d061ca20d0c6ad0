"""The log of `reelay up`: as large as the setting, a few files, every line in one of them."""

import os
from datetime import timedelta
from pathlib import Path

from services.cli.lines import LineStyle, LineWriter
from services.cli.rotation import Rotation

LINE = 100


def write(target: int, count: int, rotation: Rotation) -> None:
    writer = LineWriter(target, LineStyle(["x"], colour=False, json_lines=False), rotation)
    for number in range(count):
        writer.line("x", f"{number:06}".encode().ljust(LINE, b"."))
    writer.close(timedelta(seconds=10))


def numbers(*paths: Path) -> list[int]:
    return [int(line.split(" | ")[1][:6]) for path in paths for line in path.read_text().splitlines()]


def test_files_are_bounded_and_hold_every_line_once(tmp_path: Path) -> None:
    log = tmp_path / "reelay.log"
    target = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    write(target, 1000, Rotation(30_000, 9))
    files = [tmp_path / f"reelay.log.{number}" for number in (3, 2, 1)]
    assert sorted(tmp_path.iterdir()) == sorted([*files, log])
    assert numbers(*files, log) == list(range(1000))
    assert all(path.stat().st_size < 30_000 + 2 * LINE for path in (*files, log))
    assert {path.stat().st_mode & 0o777 for path in (*files, log)} == {0o600}
    os.close(target)


def test_the_oldest_go(tmp_path: Path) -> None:
    log = tmp_path / "reelay.log"
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    write(target, 3000, Rotation(10_000, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reelay.log", "reelay.log.1", "reelay.log.2"]
    kept = numbers(tmp_path / "reelay.log.2", tmp_path / "reelay.log.1", log)
    assert kept == list(range(kept[0], 3000))
    os.close(target)


def test_without_a_limit_or_a_file_nothing_is_renamed(tmp_path: Path) -> None:
    log = tmp_path / "reelay.log"
    target = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
    write(target, 1000, Rotation(0, 2))
    assert list(tmp_path.iterdir()) == [log]
    log.unlink()  # somebody else took it away
    write(target, 1000, Rotation(10_000, 2))
    assert not list(tmp_path.iterdir())
    os.close(target)
    reading, writing = os.pipe()
    write(writing, 10, Rotation(1, 2))
    assert os.read(reading, 1 << 16).count(b"\n") == 10
    os.close(reading)
    os.close(writing)
