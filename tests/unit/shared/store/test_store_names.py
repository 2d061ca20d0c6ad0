"""The names in folders: in order, from memory while nothing changes, and never old."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.store import names as module
from shared.store.names import Names

PATTERN = re.compile(r"[a-z0-9]+\.mp4")


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Count how often a folder is read."""
    made: list[Any] = []
    scan = os.scandir

    def counted(folder: Any) -> Iterator[os.DirEntry[str]]:
        made.append(folder)
        return scan(folder)

    monkeypatch.setattr(module.os, "scandir", counted)
    return made


def settle(folder: Path, seconds: int = 1000) -> None:
    """Let a folder have changed long ago."""
    at = folder.stat().st_mtime - seconds
    os.utime(folder, (at, at))


def test_names_behind_another_in_order_without_what_is_none(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mp4", "c.mp4", ".draft-x", "UPPER.mp4"):
        (tmp_path / name).touch()
    names = Names(PATTERN)
    assert list(names.after(tmp_path, "")) == ["a.mp4", "b.mp4", "c.mp4"]
    assert list(names.after(tmp_path, "a.mp4")) == ["b.mp4", "c.mp4"]
    assert list(names.after(tmp_path, "aa")) == ["b.mp4", "c.mp4"]
    assert list(names.after(tmp_path / "none", "")) == []


def test_a_folder_that_does_not_change_is_read_once_and_one_that_does_anew(tmp_path: Path, scans: list[Any]) -> None:
    names = Names(PATTERN)
    (tmp_path / "a.mp4").touch()
    settle(tmp_path)
    for _ in range(5):
        assert list(names.after(tmp_path, "")) == ["a.mp4"]
    assert len(scans) == 1
    (tmp_path / "b.mp4").touch()
    assert list(names.after(tmp_path, "")) == ["a.mp4", "b.mp4"]
    (tmp_path / "a.mp4").unlink()
    assert list(names.after(tmp_path, "")) == ["b.mp4"]


def test_a_folder_that_has_just_changed_is_not_kept(tmp_path: Path, scans: list[Any]) -> None:
    names = Names(PATTERN)
    (tmp_path / "a.mp4").touch()
    for _ in range(3):
        assert list(names.after(tmp_path, "")) == ["a.mp4"]
    assert len(scans) == 3


def test_memory_is_bounded_by_names(tmp_path: Path, scans: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 3)
    names = Names(PATTERN)
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for name in ("a.mp4", "b.mp4"):
            (tmp_path / folder / name).touch()
        settle(tmp_path / folder)
        list(names.after(tmp_path / folder, ""))
    list(names.after(tmp_path / "y", ""))
    assert len(scans) == 2
    list(names.after(tmp_path / "x", ""))
    assert len(scans) == 3
