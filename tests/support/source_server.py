"""An HTTP server of files that misbehaves on request, and counts what it sends."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Literal

Mode = Literal[
    "", "plain", "missing", "forbidden", "slow", "silent", "drip", "drip-head", "cut", "reset", "flaky", "html",
    "redirect", "busy", "expired", "gzip", "unknown", "no-parts", "chunked", "old",
    "heedless",
]  # fmt: skip
PIECE = 1 << 16


@dataclass
class Served:
    """A file, and how it is served. `cut` sends half of what it announces; `reset` breaks longer answers in the middle.

    `flaky` breaks the first `times` answers; `plain` ignores ranges; `slow` trickles; `silent` sends nothing;
    `drip` sends `drop` bytes every `pause`, `drip-head` of the answer's head. `halves` counts the next answers that end
    in the middle; `most` is the longest range that is sent, whatever was asked for; `surplus` is sent after each body.
    `breaks_at` is the byte at which the whole server goes down, once; `waits_at` is where an answer waits for `go`
    (of a `drip`, of all bytes dripped).
    `expired` refuses; `gzip` packs all; `unknown` sends parts of `*` bytes; `no-parts` answers 416; `chunked` has no
    length; `old` speaks HTTP/1.0 without one; `heedless` supports ranges, but not If-Range.
    `query` is what a request must contain, or get 403.
    """

    data: bytes
    mode: Mode = ""
    times: int = 1
    tag: str = '"1"'
    location: str = ""
    halves: int = 0
    most: int = 1 << 40
    surplus: bytes = b""
    breaks_at: int | None = None
    waits_at: int | None = None
    go: threading.Event = field(default_factory=threading.Event)
    pause: float = 0.02
    drop: int = 1
    query: str = ""
    changed: str = ""


@dataclass
class Server:
    """The server; `files` by path."""

    port: int = 0
    scheme: str = "http"
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    down: bool = False
    refused: int = 0
    dripped: int = 0

    def url(self, path: str) -> str:
        host = "localhost" if self.scheme == "https" else "127.0.0.1"
        return f"{self.scheme}://{host}:{self.port}{path}"

    def put(self, path: str, data: bytes, mode: Mode = "", **more: object) -> str:
        self.files[path] = Served(data, mode, **more)  # type: ignore[arg-type]
        return self.url(path)


@contextlib.contextmanager
def source_server(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server on a free port."""
    state = Server(scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            state.requests.append((path, self.headers.get("Range", "")))
            file = state.files.get(path)
            if file is not None and file.query and file.query not in query:
                _answer(self, 403, b"no token")
            else:
                _serve(self, state, file)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    class Listener(ThreadingHTTPServer):
        def verify_request(self, request: socket.socket, _: object) -> bool:
            if state.down:
                state.refused += 1
                _reset(request)
            return not state.down

        def handle_error(self, *_: object) -> None:
            """Ignore clients that went away."""

    server = Listener(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_port
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _serve(handler: BaseHTTPRequestHandler, state: Server, file: Served | None) -> None:
    if file is None or file.mode == "missing":
        _answer(handler, 404, b"<html>no such file</html>")
    elif file.mode in {"forbidden", "expired"}:
        _answer(handler, 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
    elif file.mode == "drip-head":
        _drip(handler, state, b"HTTP/1.1 200 OK\r\nX: " + bytes(1000), file)
    elif file.mode == "html":
        _answer(handler, 200, b"<!DOCTYPE html><html>sign in</html>")
    elif file.mode == "redirect":
        _answer(handler, 302, b"", {"Location": file.location})
    elif file.mode == "silent":
        state.stop.wait(60)
        handler.close_connection = True
    elif file.mode == "busy" and file.times > 0:
        file.times -= 1
        _answer(handler, 503, b"")
    else:
        _send(handler, state, file)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def _send_oddly(handler: BaseHTTPRequestHandler, file: Served) -> bool:
    """Answer in a mode that is about the form of an answer."""
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    if file.mode == "no-parts" and wanted:
        _answer(handler, 416, b"")
    elif file.mode == "gzip":
        _answer(handler, 200, gzip.compress(file.data), {"Content-Encoding": "gzip"})
    elif file.mode == "unknown" and wanted:
        start, end = int(wanted[1]), min(int(wanted[2] or len(file.data)), len(file.data) - 1)
        body = file.data[start : end + 1]
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{end}/*")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    elif file.mode == "chunked":
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for at in range(0, len(file.data), PIECE // 16):
            piece = file.data[at : at + PIECE // 16]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")
    elif file.mode == "old":
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + file.data)
    else:
        return False
    return True


def _send(handler: BaseHTTPRequestHandler, state: Server, file: Served) -> None:
    if _send_oddly(handler, file):
        return
    size = len(file.data)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    unchanged = file.mode == "heedless" or handler.headers.get("If-Range", file.tag) == file.tag
    start, end, status = 0, size, 200
    if wanted and file.mode != "plain" and unchanged:
        start, status = int(wanted[1]), 206
        end = min(int(wanted[2]) + 1 if wanted[2] else size, size, start + file.most)
        if start >= size:
            _answer(handler, 416, b"", {"Content-Range": f"bytes */{size}"})
            return
    handler.send_response(status)
    handler.send_header("Content-Length", str(end - start))
    if file.tag:
        handler.send_header("ETag", file.tag)
    if file.changed:
        handler.send_header("Last-Modified", file.changed)
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
    handler.end_headers()
    _body(handler, state, file, start, end)


def _body(handler: BaseHTTPRequestHandler, state: Server, file: Served, start: int, end: int) -> None:
    broken = (file.mode == "reset" and end - start > PIECE // 16) or (file.mode == "flaky" and file.times > 0)
    if file.mode == "flaky":
        file.times -= 1
    halved, file.halves = file.halves > 0, max(file.halves - 1, 0)
    until = (start + end) // 2 if broken or halved or file.mode == "cut" else end
    if file.mode == "drip":
        _drip(handler, state, file.data[start:until], file)
        return
    with contextlib.suppress(OSError):
        stops = sorted(
            {*range(start, until, PIECE), *(s for s in (file.breaks_at, file.waits_at) if s is not None), until}
        )
        for at, following in pairwise([s for s in stops if start <= s <= until]):
            if file.mode == "slow":
                time.sleep(0.05)
            if at == file.waits_at:
                file.go.wait(60)
            if at == file.breaks_at:
                file.breaks_at, state.down = None, True
                handler.close_connection = True
                return
            state.sent += handler.wfile.write(file.data[at:following])
        handler.wfile.write(file.surplus)
        if until < end:
            handler.close_connection = True
            if broken:  # a reset, not an end
                _reset(handler.connection)


def _drip(handler: BaseHTTPRequestHandler, state: Server, data: bytes, file: Served) -> None:
    handler.close_connection = True
    with contextlib.suppress(OSError):
        for at in range(0, len(data), file.drop):
            if file.waits_at is not None and state.dripped >= file.waits_at:
                file.go.wait(120)
            state.dripped += handler.wfile.write(data[at : at + file.drop])
            if state.stop.wait(file.pause):
                return


def _answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)
