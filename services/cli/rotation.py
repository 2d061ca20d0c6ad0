"""An output that goes to a file: when that is large another is begun, and a few of the older ones are kept."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# What nohup and shells leave open besides: tracebacks of this process go there.
STANDARD: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Rotation:
    """How large the file may be in bytes, 0 for no limit, and how many older ones stay: `<name>.1` is the newest."""

    size: int = 0
    files: int = 4

    def look(self, target: int) -> None:
        """Begin another file under the same name and descriptor when the target is a file that is full.

        What cannot be renamed goes on. A terminal, a pipe and a file that was removed are left alone.
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
