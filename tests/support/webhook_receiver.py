"""A receiver of webhooks with scripted answers, and its own check of the Standard Webhooks signature.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """What to answer. `wait` holds the answer back until it is set; `silent` closes without one."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    wait: asyncio.Event | None = None
    silent: bool = False
    endless: bool = False


@dataclass
class Request:
    """A request as received."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def signed_by(self, secret: str, *, now: float | None = None) -> bool:
        """Return whether the signature is valid by the specification."""
        stamp = self.headers["webhook-timestamp"]
        assert abs((now or time.time()) - int(stamp)) < 300
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.headers['webhook-id']}.{stamp}.".encode() + self.body
        expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split(" ")


class Receiver:
    """Records every request; answers by `script` (one reply per request, then `default`), or by path."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: list[Reply] = []
        self.by_path: dict[str, Reply] = {}
        self.default = Reply()
        self.port = 0
        self.tls = False
        self.under_way: dict[str, int] = {}
        self.most_at_once: dict[str, int] = {}
        self._news = asyncio.Condition()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    async def until(self, condition: Callable[[], bool], within: float = 30) -> None:
        """Wait until the requests meet a condition."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(condition)

    async def count(self, number: int, path: str | None = None, within: float = 30) -> list[Request]:
        """Wait for `number` requests (to a path)."""
        await self.until(lambda: len(self.to(path) if path else self.requests) >= number, within)
        return self.to(path) if path else self.requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = ""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            self.under_way[path] = self.under_way.get(path, 0) + 1
            self.most_at_once[path] = max(self.most_at_once.get(path, 0), self.under_way[path])
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            await self._note(Request(path, headers, body, time.monotonic()))
            reply = self.by_path.get(path) or (self.script.pop(0) if self.script else self.default)
            if reply.wait is not None:
                await reply.wait.wait()
            await self._answer(writer, reply)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.under_way[path] = self.under_way.get(path, 1) - 1
            writer.close()

    async def _note(self, request: Request) -> None:
        async with self._news:
            self.requests.append(request)
            self._news.notify_all()

    async def _answer(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        if reply.silent:
            return
        fields = {"Content-Length": str(len(reply.body)), "Connection": "close"} | reply.headers
        if reply.endless:
            del fields["Content-Length"]
        lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{k}: {v}" for k, v in fields.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
        await writer.drain()
        while reply.endless:
            writer.write(b"x" * 65536)
            await writer.drain()


@contextlib.asynccontextmanager
async def webhook_receiver(tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver on 127.0.0.1; 0: on a free port."""
    receiver = Receiver()
    receiver.tls = tls is not None
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
