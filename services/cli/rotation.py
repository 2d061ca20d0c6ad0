"""Rotation of an output file: a full file is renamed and a new one started; a few older ones are kept."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# nohup and shells leave these open too: tracebacks of this process go there.
STANDARD: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Rotation:
    """The largest size of the file in bytes (0: no limit) and how many older files stay; `<name>.1` is the newest."""

    size: int = 0
    files: int = 4

    def look(self, target: int) -> None:
        """Start a new file under the same name and descriptor when the target is a full file.

        OSError when the file cannot be renamed. A terminal, a pipe and a removed file are left alone.
        """
        if not self.size:
            return
        found = os.fstat(target)
        if not stat.S_ISREG(found.st_mode) or found.st_size < self.size:
            return
        path = Path(f"/proc/self/fd/{target}").readlink()
        if not path.exists() or not os.path.samestat(path.stat(), found):
            return
        for number in range(self.files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(f"{path.name}.{number}").replace(path.with_name(f"{path.name}.{number + 1}"))
        path.replace(path.with_name(f"{path.name}.1"))
        self._begin(path, target, found)

    @staticmethod
    def _begin(path: Path, target: int, before: os.stat_result) -> None:
        fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, stat.S_IMODE(before.st_mode))
        try:
            sys.stdout.flush()
            for number in {target, *STANDARD}:
                with contextlib.suppress(OSError):  # closed
                    if os.path.samestat(os.fstat(number), before):
                        os.dup2(fresh, number)
        finally:
            os.close(fresh)
