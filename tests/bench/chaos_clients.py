"""Well-behaved clients of the stack, for chaos.py: a receiver of webhooks, an API client, encoders."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.support.media_streams import FFMPEG


@dataclass
class Receiver:
    """Receives webhooks, and keeps them in the order of arrival."""

    told: list[tuple[str, str, str]] = field(default_factory=list)
    server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                data = body.get("data", body)
                what = f"{body.get('type')} {data.get('state') or data.get('jvod_state') or ''}".strip()
                told.append((str(self.headers["webhook-id"]), str(data.get("clip") or data.get("jvod_id")), what))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@dataclass
class Api:
    """Asks whichever gateway answers, with retries, as a good client does."""

    ports: list[int]
    key: str

    def ask(self, method: str, path: str, body: Any = None, *, limit: float = 60) -> httpx.Response:
        """Ask until the answer is not 5xx, 409 or 429; a POST has an Idempotency-Key."""
        until, headers = time.monotonic() + limit, {"X-API-KEY": self.key, "Idempotency-Key": uuid4().hex}
        while True:
            for port in self.ports:
                with contextlib.suppress(httpx.HTTPError):
                    answer = httpx.request(
                        method, f"http://127.0.0.1:{port}{path}", json=body, headers=headers, timeout=10
                    )
                    if answer.status_code < 500 and answer.status_code not in (409, 429):
                        return answer
            if time.monotonic() > until:
                raise TimeoutError(f"{method} {path}")
            time.sleep(0.5)


@dataclass
class Encoder:
    """Publishes a loop, and goes to the next address when it is cut off."""

    urls: list[str]
    container: str
    source: Path
    stop: threading.Event
    connections: int = 0

    def run(self) -> None:
        while not self.stop.is_set():
            url = self.urls[self.connections % len(self.urls)]
            self.connections += 1
            patience = ["-rw_timeout", "4000000"] if self.container == "flv" else []
            command = [FFMPEG, "-v", "error", "-re", "-stream_loop", "-1", "-i", str(self.source), "-c", "copy",
                       *patience, "-f", self.container, url]  # fmt: skip
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                while process.poll() is None and not self.stop.wait(0.1):
                    pass
            finally:
                process.kill()
                process.wait()
            self.stop.wait(0.3)
