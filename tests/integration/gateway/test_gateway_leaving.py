"""Clients that leave in the middle of a download: what is read for them is let go, and nothing fails."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from services.gateway.delivery import objects
from services.gateway.http.files import Content, send
from services.gateway.http.framing import HttpLimits
from services.gateway.http.server import listen, serving
from shared.store.base import ObjectInfo
from tests.support.api_gateway import until

PIECE = bytes(100_000)
COUNT = 50


@dataclass
class Slow:
    """A store whose reads wait at a gate, as a disk or a bucket may."""

    gate: threading.Event = field(default_factory=threading.Event)
    reading: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    read_count: int = 0

    def read(self, *_: object, **__: object) -> Iterator[bytes]:
        try:
            for _number in range(COUNT):
                self.read_count += 1
                if self.read_count > 1:
                    self.reading.set()
                    self.gate.wait(60)
                yield PIECE
        finally:
            self.closed.set()


@contextlib.asynccontextmanager
async def serving_slowly(slow: Slow, way: str) -> AsyncIterator[tuple[int, list[dict[str, Any]]]]:
    """Serve the store's object in one of the two ways; gives the port, and what the loop had to complain about."""
    app, failures = FastAPI(), list[dict[str, Any]]()
    size = COUNT * len(PIECE)

    @app.get("/object")
    async def get(request: Request) -> Response:
        if way == "file":
            return await send(request, Content(size, '"tag"', slow.read, "clip.mp4"))
        delivery: Any = type("Delivery", (), {"store": slow})()
        return await objects.send_object(request, delivery, ObjectInfo("live/a/0.m4s", size), "private")

    async def watched(scope: Any, receive: Any, answer: Any) -> None:
        try:
            await app(scope, receive, answer)
        except Exception as error:
            failures.append({"exception": error})
            raise
        finally:
            slow.ended.set()

    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    with listen("127.0.0.1", 0) as listener:
        async with serving(watched, listener, HttpLimits()):
            yield listener.getsockname()[1], failures


@pytest.mark.parametrize("way", ["file", "segment"])
@pytest.mark.parametrize("when", ["while a piece is read", "between two pieces"])
async def test_a_client_that_leaves_lets_go_of_what_is_read(way: str, when: str) -> None:
    slow = Slow()
    async with serving_slowly(slow, way) as (port, failures):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /object HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1000)
        await until(lambda: asyncio.to_thread(slow.reading.wait, 1))
        if when == "between two pieces":
            slow.gate.set()
            await reader.readexactly(len(PIECE) * 3)
        writer.transport.abort()
        if when == "while a piece is read":
            await until(lambda: asyncio.to_thread(slow.ended.wait, 1))  # though the read still waits
            assert not slow.closed.is_set()
            slow.gate.set()
        await until(lambda: asyncio.to_thread(slow.closed.wait, 1))
        assert slow.read_count < COUNT, "nobody reads for one that has gone"
    assert failures == []


async def test_many_that_leave_at_any_moment_break_nothing() -> None:
    slow = Slow()
    slow.gate.set()
    async with serving_slowly(slow, "file") as (port, failures):

        async def leave(after: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /object HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readexactly(after)
            writer.transport.abort()

        await asyncio.gather(*(leave(number * 37_003 % (COUNT * len(PIECE))) for number in range(60)))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /object HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        whole = await reader.read(-1)
        assert len(whole.partition(b"\r\n\r\n")[2]) == COUNT * len(PIECE)
        writer.close()
    assert failures == []
