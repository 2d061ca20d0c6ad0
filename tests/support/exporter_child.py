"""An exporter whose killed deliveries come again soon: `python -m tests.support.exporter_child [FOLDER]`.

With a folder, which remembers it, it kills itself in the middle of its first copy.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from datetime import timedelta
from pathlib import Path

from services.exporter.app import build
from shared.runtime.service import main
from tests.support.shared_bus import hasten


def copy(source: Path, target: Path) -> None:
    died = Path(sys.argv[1]) / "died"
    data = source.read_bytes()
    if died.exists():
        target.write_bytes(data)
        return
    target.write_bytes(data[: len(data) // 2])
    died.touch()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    hasten("exporter-deliver", ack_wait=timedelta(seconds=1))
    if len(sys.argv) > 1:
        shutil.copyfile = copy  # type: ignore[assignment]
    main("exporter", build)
