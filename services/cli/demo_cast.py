"""The parts of the demo: the stack, two real encoders, and a receiver of webhooks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import imageio_ffmpeg

from services.cli.datadir import RunFile, read_run_file
from services.cli.errors import StackError
from services.cli.ports import listening
from services.cli.process import LAUNCH
from shared.runtime.settings import Settings

PICTURE: Final = "testsrc2=size={size}:rate=30"
SOUND: Final = "sine=frequency={tone}:beep_factor=4:sample_rate=48000"
START_LIMIT: Final = timedelta(seconds=90)


def with_parent() -> list[str]:
    """Return the command prefix that ends a command with this process, however this process ends."""
    return [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid())]


@contextlib.contextmanager
def running_stack(settings: Settings) -> Iterator[RunFile]:
    """Run `reelay up`, logging to DATA_DIR/demo.log; StackError with its last lines when it does not start."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log_path = settings.data_dir / "demo.log"
    nets = os.environ.get("REELAY_ALLOW_NETS") or "127.0.0.0/8"  # the receiver of webhooks is on this machine
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  our own command
            [*with_parent(), sys.executable, "-m", "services.cli", "up"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"REELAY_ALLOW_NETS": nets},
        )  # fmt: skip
        try:
            yield _wait_for_stack(process, settings.data_dir, log_path)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_stack(process: subprocess.Popen[bytes], data_dir: Path, log_path: Path) -> RunFile:
    until = time.monotonic() + START_LIMIT.total_seconds()
    while time.monotonic() < until:
        if process.poll() is not None:
            last = log_path.read_text(errors="replace").splitlines()[-8:]
            raise StackError("\n".join(["the stack did not start:", *last]))
        with contextlib.suppress(StackError):
            run = read_run_file(data_dir)
            if b" ready: http" in log_path.read_bytes() and listening(run.ports["http"]):
                return run
        time.sleep(0.1)
    raise StackError(f"the stack was not ready after {START_LIMIT.total_seconds():.0f} s; see {log_path}")


@contextlib.contextmanager
def encoder(url: str, container: str, *, size: str, bitrate: str, tone: int) -> Iterator[subprocess.Popen[bytes]]:
    """Publish a moving test picture with sound in real time from an ffmpeg process, with a keyframe every 2 s."""
    command = [
        *with_parent(), imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-re",
        "-f", "lavfi", "-i", PICTURE.format(size=size), "-f", "lavfi", "-i", SOUND.format(tone=tone),
        "-c:v", "libx264", "-preset", "ultrafast", "-b:v", bitrate, "-maxrate", bitrate, "-bufsize", bitrate,
        "-pix_fmt", "yuv420p", "-g", "60", "-keyint_min", "60", "-sc_threshold", "0",
        "-c:a", "aac", "-b:a", "128k", "-f", container, url,
    ]  # fmt: skip
    process = subprocess.Popen(  # noqa: S603  our own ffmpeg and our own URL
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass
class Received:
    """A webhook as received, and whether its signature is valid."""

    body: dict[str, Any]
    signed: bool
    at: float


@dataclass
class Receiver:
    """An HTTP server on loopback that checks Standard Webhooks signatures."""

    url: str = ""
    secret: str = ""
    received: list[Received] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, headers: Any, raw: bytes) -> None:
        """Record a request, and whether its signature is valid."""
        parts = [headers.get("webhook-id", ""), headers.get("webhook-timestamp", ""), raw.decode(errors="replace")]
        key = base64.b64decode(self.secret.removeprefix("whsec_") or "")
        expected = "v1," + base64.b64encode(hmac.digest(key, ".".join(parts).encode(), hashlib.sha256)).decode()
        signed = any(hmac.compare_digest(expected, s) for s in headers.get("webhook-signature", "").split())
        with self.came:
            self.received.append(Received(json.loads(raw), signed, time.time()))
            self.came.notify_all()

    def wait(self, kind: str, limit: timedelta, state: str | None = None) -> Received | None:
        """Wait for a webhook of a type (and of a state) and return it; None when none arrives in time."""
        with self.came:
            self.came.wait_for(lambda: self._find(kind, state) is not None, limit.total_seconds())
            return self._find(kind, state)

    def _find(self, kind: str, state: str | None) -> Received | None:
        told = (r for r in self.received if r.body.get("type") == kind)
        return next((r for r in told if state is None or r.body["data"].get("state") == state), None)


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """Receive webhooks on a free port."""
    state = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("content-length", "0")), 1 << 20)
            state.take(self.headers, self.rfile.read(length))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/reelay"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
