"""Sends a file as the body of one HTTP/1.1 request, and hears the server at any time: most refuse before the end.

httpx writes the whole body first, and loses the answer of a server that answers early and closes (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import h11
import httpcore

from services.exporter.destinations.base import SourceFile, Transfer
from services.exporter.destinations.telling import waiting
from shared.security.netguard.addresses import Networks
from shared.security.netguard.http import GuardedBackend

CONNECT_S: Final = 10.0
WRITE_S: Final = 60.0
ANSWER_S: Final = 600.0
"""How long a server may work on a file that it has: it copies, scans, or passes it on."""
EXPECT_S: Final = 1.0
EXPECT_FROM: Final = 1 << 20
"""Bodies from this size on are sent when the server has said 100, or nothing for a second (RFC 9110, 10.1.1)."""
EXPECTATION_FAILED: Final = 417
"""Of a server that does not know `Expect`: the request is repeated without it."""
LATE_S: Final = 5.0
READ: Final = 64 << 10
BODY_LIMIT: Final = 16 << 10
Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer; names of fields in lower case. `whole`: the request's body was sent before it, all of it."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = True


class BodySender:
    """Sends bodies over connections to checked addresses, each of its own."""

    def __init__(self, allowed: Networks, tls: ssl.SSLContext) -> None:
        self._backend = GuardedBackend(allowed)
        self._tls = tls

    async def send(self, method: str, url: str, fields: Fields, file: SourceFile, transfer: Transfer) -> Reply:
        """Send a request with the file, and return the answer, which may come before all is sent.

        Raise httpcore's errors, AddressRefused, DestinationFailed. `url` is http or https, in its normal form.
        """
        asks = file.size >= EXPECT_FROM
        reply = await self._send(method, url, fields, file, transfer, asks=asks)
        if asks and reply.status == EXPECTATION_FAILED:
            reply = await self._send(method, url, fields, file, transfer, asks=False)
        return reply

    async def _send(
        self, method: str, url: str, fields: Fields, file: SourceFile, transfer: Transfer, *, asks: bool
    ) -> Reply:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        stream = await self._backend.connect_tcp(host, port, CONNECT_S)
        try:
            if secure:
                stream = await stream.start_tls(self._tls, host, CONNECT_S)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            head = [("host", parts.netloc), ("content-length", str(file.size)), ("connection", "close"), *fields]
            if asks:
                head.append(("expect", "100-continue"))
            return await _Exchange(stream).run(h11.Request(method=method, target=target, headers=head), file, transfer)
        finally:
            with contextlib.suppress(httpcore.NetworkError, OSError):
                await stream.aclose()


class _Exchange:
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._go = asyncio.Event()

    async def run(self, request: h11.Request, file: SourceFile, transfer: Transfer) -> Reply:
        reading = asyncio.create_task(self._answer())
        try:
            await self._write(self._http.send(request), reading)
            if any(name == b"expect" for name, _ in request.headers):
                await self._await_go(reading)
            whole = False
            try:
                whole = await self._send_body(file, transfer, reading)
            except (httpcore.NetworkError, httpcore.TimeoutException):
                async with asyncio.timeout(LATE_S):  # what it said before it closed
                    await asyncio.wait({reading})
                if not reading.done() or reading.exception():
                    raise
            async with waiting(transfer, file.size):
                return replace(await asyncio.wait_for(reading, ANSWER_S), whole=whole)
        except TimeoutError as error:
            raise httpcore.ReadTimeout("no answer") from error
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()

    async def _await_go(self, reading: asyncio.Task[Reply]) -> None:
        go = asyncio.create_task(self._go.wait())
        try:
            await asyncio.wait({go, reading}, timeout=EXPECT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            go.cancel()

    async def _send_body(self, file: SourceFile, transfer: Transfer, reading: asyncio.Task[Reply]) -> bool:
        """Send until the server has answered; return whether it was all."""
        total = 0
        async with contextlib.aclosing(file.chunks()) as pieces:
            async for piece in pieces:
                if reading.done():
                    return False
                await self._write(self._http.send(h11.Data(data=piece)), reading)
                total += len(piece)
                await transfer.sent(total)
        if not reading.done():
            await self._write(self._http.send(h11.EndOfMessage()), reading)
        return total == file.size

    async def _write(self, data: bytes | None, reading: asyncio.Task[Reply]) -> None:
        """Write, until the server has answered: it may take no more."""
        if not data:
            return
        writing = asyncio.create_task(self._stream.write(data, WRITE_S))
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done() or reading.exception() is not None:
                await writing
        finally:
            writing.cancel()
            await asyncio.wait({writing})
            if not writing.cancelled():
                writing.exception()

    async def _answer(self) -> Reply:
        reply, body = Reply(0), bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.read(READ))
            elif isinstance(event, h11.InformationalResponse):
                self._go.set()
            elif isinstance(event, h11.Response):
                reply = Reply(
                    event.status_code, {name.decode(): value.decode("latin-1") for name, value in event.headers}
                )
            elif isinstance(event, h11.Data) and len(body) < BODY_LIMIT:
                body += event.data
            else:
                return Reply(reply.status, reply.fields, bytes(body[:BODY_LIMIT]))
            if reply.status >= 300 and len(body) >= BODY_LIMIT:
                return Reply(reply.status, reply.fields, bytes(body[:BODY_LIMIT]))
