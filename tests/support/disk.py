"""A small disk for a test, which can be filled."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs; ballast fills it."""

    root: Path

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.root).free

    def fill(self, leave: int) -> None:
        """Fill the disk up to `leave` free bytes; with 0, until no byte more can be written."""
        with (self.root / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while leave == 0 or self.free > leave:
                file.write(bytes(min(MIB, max(self.free - leave, 4096))))

    def clear(self) -> None:
        (self.root / "ballast").unlink()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a tmpfs of `size`, such as 64m; skip the test, with a reason, where that is not allowed."""
    root = folder / "disk"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)]
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that this test fills")
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"the small disk that this test fills cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
