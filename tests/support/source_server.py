"""An HTTP server of files that misbehaves on request, and counts what it sends."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Mode = Literal[
    "", "plain", "missing", "forbidden", "slow", "silent", "drip", "drip-head", "cut", "reset", "flaky", "html",
    "redirect", "busy",
]  # fmt: skip
PIECE = 1 << 16


@dataclass
class Served:
    """A file, and how it is served. `cut` sends half of what it says; `reset` breaks every longer answer in its middle.

    `flaky` breaks the first answers, `times` of them; `plain` knows no ranges; `slow` trickles; `silent` says nothing;
    `drip` sends a byte now and then, `drip-head` of the answer's head. `halves` counts the next answers that end in
    their middle; `most` is the longest range that is sent, whatever was asked for; `surplus` comes after each body.
    """

    data: bytes
    mode: Mode = ""
    times: int = 1
    tag: str = '"1"'
    location: str = ""
    halves: int = 0
    most: int = 1 << 40
    surplus: bytes = b""


@dataclass
class Server:
    """The server; `files` by path."""

    port: int = 0
    scheme: str = "http"
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

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
            path = self.path.split("?", 1)[0]
            state.requests.append((path, self.headers.get("Range", "")))
            _serve(self, state, state.files.get(path))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
    elif file.mode == "forbidden":
        _answer(handler, 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
    elif file.mode == "drip-head":
        _drip(handler, state, b"HTTP/1.1 200 OK\r\nX: " + bytes(1000))
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


def _send(handler: BaseHTTPRequestHandler, state: Server, file: Served) -> None:
    size = len(file.data)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    unchanged = handler.headers.get("If-Range", file.tag) == file.tag
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
        _drip(handler, state, file.data[start:until])
        return
    with contextlib.suppress(OSError):
        for at in range(start, until, PIECE):
            if file.mode == "slow":
                time.sleep(0.05)
            state.sent += handler.wfile.write(file.data[at : min(at + PIECE, until)])
        handler.wfile.write(file.surplus)
        if until < end:
            handler.close_connection = True
            if broken:  # a reset, not an end
                linger = b"\1\0\0\0\0\0\0\0"
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                handler.connection.close()


def _drip(handler: BaseHTTPRequestHandler, state: Server, data: bytes) -> None:
    handler.close_connection = True
    with contextlib.suppress(OSError):
        for byte in data:
            handler.wfile.write(bytes((byte,)))
            if state.stop.wait(0.02):
                return


def _answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)
