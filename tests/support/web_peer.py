"""A web server for tests that answers as told: early, late, falsely, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Call:
    """A request as it arrived; `body` is what was read of it."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


@dataclass
class Said:
    """An answer."""

    status: int = 200
    body: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Said | None]
"""None: the connection is closed without an answer."""


@dataclass
class Peer:
    """The running server and what it was asked. `first` may answer when only the head of a request is there."""

    handle: Handler
    first: Handler = lambda _call: None
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    continues: bool = True
    lingers: bool = False
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self.tls else f"http://127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        return [call.method for call in self.calls]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._one(reader, writer)
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = {name.lower(): text.strip() for name, _, text in (row.partition(":") for row in head[1:] if row)}
        call = Call(method, target, fields)
        self.calls.append(call)
        if early := self.first(call):
            _write(writer, call, early)
            await writer.drain()
            if self.lingers:  # takes nothing more, and keeps the connection
                await reader.read(1)
                await asyncio.Event().wait()
            return
        if self.continues and "expect" in fields:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.body = await reader.readexactly(int(fields.get("content-length", 0)))
        if said := self.handle(call):
            _write(writer, call, said)
            await writer.drain()


def _write(writer: asyncio.StreamWriter, call: Call, said: Said) -> None:
    rows = {"Content-Length": str(len(said.body)), "Connection": "close"} | said.fields
    head = f"HTTP/1.1 {said.status} X\r\n" + "".join(f"{name}: {text}\r\n" for name, text in rows.items())
    writer.write(f"{head}\r\n".encode() + (b"" if call.method == "HEAD" else said.body))


@contextlib.asynccontextmanager
async def peer(handle: Handler, first: Handler = lambda _call: None, **how: Any) -> AsyncIterator[Peer]:
    """Run a server."""
    made = Peer(handle, first, **how)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        await made.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=made.tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
