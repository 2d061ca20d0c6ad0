"""Services, and what they encode with, stay on the ordinary schedule, whoever runs them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import child, settings_for

SYS_NICE = 1 << 23
ENCODE = """
import os
from fractions import Fraction
import av
from shared.runtime.priority import stay_ordinary
{first}
context = av.codec.CodecContext.create("libsvtav1", "w")
context.width, context.height, context.pix_fmt, context.time_base = 320, 180, "yuv420p", Fraction(1, 30)
context.open()
print(*{{os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}})
"""


def policies(first: str) -> set[int]:
    """Return the scheduling policies of the threads of a process that encodes AV1."""
    command = [sys.executable, "-c", ENCODE.format(first=first)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return {int(policy) for policy in said.stdout.split()}


def test_an_av1_encoder_that_root_runs_takes_no_priority() -> None:
    assert policies("stay_ordinary()") == {os.SCHED_OTHER}


def test_what_a_test_starts_has_no_right_to_it_either() -> None:
    assert policies("") == {os.SCHED_OTHER}


def told(pid: int, name: str, what: str) -> list[str]:
    """Return the words of the lines that begin with `what`, of a file of /proc."""
    lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    return [word for line in lines if line.startswith(what) for word in line.split()]


async def test_a_service_gives_up_the_right(nats: NatsServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with child(settings_for(nats, tmp_path), log, "services.clipper") as process:
        await until(lambda: asyncio.sleep(0, "service.started" in log.read_text()), 60)
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert not int(told(process.pid, "status", name)[1], 16) & SYS_NICE, name
        assert told(process.pid, "limits", "Max realtime priority")[3:5] == ["0", "0"]
