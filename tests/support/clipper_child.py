"""A clipper that kills itself once in each of its cuts: `python -m tests.support.clipper_child FOLDER [LONG]`.

Clips of more than LONG bytes are long ones.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from services.clipper import cutter, work
from services.clipper.app import build
from shared.runtime.service import main
from tests.support.shared_bus import hasten


def once(name: str) -> Any:
    real = getattr(cutter, name)

    def cut(plan: Any, out: Path, *more: Any) -> Any:
        died = Path(sys.argv[1]) / f"died-{name}"
        if not died.exists():
            died.touch()
            out.with_name(f".{out.name}.0badcafe.part").write_bytes(b"half a file")
            os.kill(os.getpid(), signal.SIGKILL)
        return real(plan, out, *more)

    return cut


if __name__ == "__main__":
    for durable in ("clipper-create", "clipper-refine", "clipper-copy-long", "clipper-refine-long"):
        hasten(durable, ack_wait=timedelta(seconds=1))
    work.LONG = int(sys.argv[2]) if len(sys.argv) > 2 else work.LONG
    work.UNTOUCHED = timedelta(milliseconds=100)
    for function in ("cut_fast", "cut_exact"):
        setattr(cutter, function, once(function))
    main("clipper", build)
