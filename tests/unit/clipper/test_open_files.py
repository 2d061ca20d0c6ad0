"""Descriptors of files that are read again and again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.clipper.open_files import OpenFiles


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_the_file_used_last_is_closed_last_and_all_are_at_the_end(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    with OpenFiles(2) as files:
        first, second = files[paths[0]], files[paths[1]]
        assert files[paths[0]] == first
        third = files[paths[2]]  # may have the number of the second, which was closed before
        assert {path: os.pread(number, 1, 0) for path, number in files.items()} == {paths[0]: b"a", paths[2]: b"c"}
        assert len(files) == 2
        with pytest.raises(FileNotFoundError):
            files[tmp_path / "missing"]
    assert not any(is_open(number) for number in (first, second, third))
