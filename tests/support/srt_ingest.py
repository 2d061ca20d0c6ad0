"""A running SRT listener that keeps what its callers send, real callers, and a relay that loses datagrams."""

from __future__ import annotations

import random
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

import imageio_ffmpeg

from services.ingester.srt import SrtGrant, SrtLimits, SrtListener, SrtPublication, SrtRequest
from shared.runtime.clock import SystemClock

PASSPHRASE = "correct horse battery"
HANG_UP = 1316 * 150
PATIENCE = 60  # seconds that a condition may take on a busy machine


def ffmpeg() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def make_ts(path: Path, seconds: int = 3, rate: str = "2M") -> Path:
    """Write a transport stream with moving pictures and sound."""
    subprocess.run(
        [ffmpeg(), "-y", "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s=640x360:r=30:d={seconds}", "-f", "lavfi",
         "-i", f"sine=r=48000:d={seconds}", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", rate, "-g", "30",
         "-c:a", "aac", "-f", "mpegts", str(path)],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    # What a copying ffmpeg sends differs from what the encoding one wrote: copy once more, for comparison.
    copied = path.with_suffix(".copied.ts")
    subprocess.run(
        [ffmpeg(), "-y", "-v", "error", "-i", str(path), "-c", "copy", "-f", "mpegts", str(copied)],
        check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return copied


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; AssertionError when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


@dataclass
class Received:
    """What one publication sent."""

    publication: SrtPublication
    data: bytearray = field(default_factory=bytearray)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def label(self) -> str:
        return self.publication.grant.label

    @property
    def reason(self) -> str:
        return self.publication.cause


class Ingest:
    """A listener that accepts `streams`: name to passphrase (None: not encrypted)."""

    def __init__(self, streams: dict[str, str | None], limits: SrtLimits) -> None:
        self.streams = streams
        self.received: list[Received] = []
        self.asked: list[SrtRequest] = []
        self.listener = SrtListener("127.0.0.1", 0, self.authorize, self.on_publish, limits, SystemClock())

    @property
    def port(self) -> int:
        return self.listener.port

    def authorize(self, request: SrtRequest) -> SrtGrant | None:
        self.asked.append(request)
        if request.resource not in self.streams:
            return None
        return SrtGrant(self.streams[request.resource], context=request, label=request.resource)

    def on_publish(self, publication: SrtPublication) -> None:
        entry = Received(publication)
        self.received.append(entry)
        try:
            while data := publication.read(32768):
                entry.data += data
        finally:
            entry.ended.set()

    def only(self, label: str) -> Received:
        """Wait for a publication with that label; return the latest."""
        wait_for(lambda: any(r.label == label for r in self.received), f"{label} is published")
        return [r for r in self.received if r.label == label][-1]

    def ended(self, label: str) -> Received:
        """Wait for the end of the latest publication with that label."""
        entry = self.only(label)
        assert entry.ended.wait(PATIENCE), f"{label} has not ended"
        return entry


@contextmanager
def ingest(streams: dict[str, str | None], limits: SrtLimits | None = None) -> Iterator[Ingest]:
    """Run a listener, and stop it whatever happens."""
    running = Ingest(streams, limits or SrtLimits())
    running.listener.start()
    try:
        yield running
    finally:
        assert running.listener.stop(timedelta(seconds=PATIENCE))


def push(
    port: int, path: Path, streamid: str, passphrase: str | None = None, *, rate: int = 3
) -> subprocess.Popen[bytes]:
    """Start a real encoder that copies a file to the listener, `rate` times as fast as real time."""
    secret = f"&passphrase={passphrase}" if passphrase else ""
    url = f"srt://127.0.0.1:{port}?pkt_size=1316&connect_timeout=20000&streamid={streamid}{secret}"
    return subprocess.Popen(
        [ffmpeg(), "-v", "info", "-readrate", str(rate), "-i", str(path), "-c", "copy", "-f", "mpegts", url],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for a caller's process; return its exit code and its messages."""
    try:
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode, said.decode(errors="replace")


def assert_whole(data: bytes | bytearray, source: bytes) -> None:
    """Compare every packet with the source; ffmpeg may hang up before it has sent the last ones."""
    assert len(data) <= len(source)
    assert len(source) - len(data) <= HANG_UP, f"{len(source) - len(data)} bytes are missing"
    if data != source[: len(data)]:
        first = next(at for at in range(0, len(data), 188) if data[at : at + 188] != source[at : at + 188])
        raise AssertionError(f"packet {first // 188} of {len(source) // 188} differs")


class LossyRelay:
    """Relays datagrams between one caller and a listener, and drops some of them."""

    def __init__(self, target: int, loss: float) -> None:
        self._outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._outer.bind(("127.0.0.1", 0))
        self._inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inner.connect(("127.0.0.1", target))
        self._loss = loss
        self._random = random.Random(7)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port: int = self._outer.getsockname()[1]
        self.lost = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(PATIENCE)
        self._outer.close()
        self._inner.close()

    def _run(self) -> None:
        caller = None
        while not self._done.is_set():
            for ready in select.select([self._outer, self._inner], [], [], 0.1)[0]:
                data, where = ready.recvfrom(2048)
                if ready is self._outer:
                    caller = where
                # Bit 7 of the first byte marks a control packet: the handshake itself is spared.
                if data[0] < 128 and self._random.random() < self._loss:
                    self.lost += 1
                elif ready is self._outer:
                    self._inner.send(data)
                elif caller:
                    self._outer.sendto(data, caller)
