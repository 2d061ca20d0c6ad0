"""Targets of a restream, and receivers for them."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.restreamer.model import TargetSpec
from services.restreamer.targets import TargetRules, Targets
from shared.messages.restreams import TargetStatus
from shared.runtime.clock import Clock, SystemClock
from shared.srt.errors import SrtUnavailable
from shared.srt.library import load
from tests.support.media_streams import FFMPEG, frame_hashes
from tests.support.rtmp_server import Stream
from tests.support.waiting import wait_until

LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)
SECRET = "correct-horse-battery"


def srt_missing() -> str:
    try:
        load()
    except SrtUnavailable as error:
        return str(error)
    return ""


needs_srt = pytest.mark.skipif(bool(srt_missing()), reason=srt_missing())


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spec(number: int, url: str, *, tries: int = 3) -> TargetSpec:
    return TargetSpec(f"{number:016x}", url, f"target {number}", tries)


@contextmanager
def targets(*specs: TargetSpec, clock: Clock | None = None, **more: object) -> Iterator[Targets]:
    """Yield the targets of a restream; close them at the end."""
    made = Targets(TargetRules(allowed=LOCAL, **more), clock or SystemClock())  # type: ignore[arg-type]
    made.set_targets(specs)
    try:
        yield made
    finally:
        made.close()


def settle(made: Targets, number: int, condition: Callable[[TargetStatus], bool]) -> TargetStatus:
    """Tick until a target meets the condition."""
    found: list[TargetStatus] = []

    def look() -> bool:
        made.tick()
        found[:] = [status for status in made.states() if status.target == f"{number:016x}"]
        return condition(found[0])

    wait_until(look)
    return found[0]


def is_live(status: TargetStatus) -> bool:
    return status.state == "live"


def has_failed(status: TargetStatus) -> bool:
    return status.state == "failed"


def digests(path: Path) -> list[str]:
    return [digest for _, digest in frame_hashes(path)]


def written(stream: Stream, folder: Path) -> Path:
    path = folder / f"{stream.key}.flv"
    path.write_bytes(stream.runs[0])
    return path


def ffmpeg_srt(url: str, out: Path) -> subprocess.Popen[bytes]:
    """Start a real receiver that keeps what it gets."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-v", "error", "-y", "-i", url, "-map", "0", "-c", "copy", str(out)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
