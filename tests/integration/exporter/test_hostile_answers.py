"""Servers whose answers never end, come byte by byte, or are made to be costly: every adapter lets go of them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from services.exporter.destinations import ftp_control, http_server, s3, s3_client
from services.exporter.destinations.base import Destination
from services.exporter.destinations.ftp import FtpMaker
from services.exporter.destinations.http import HttpMaker
from services.exporter.destinations.s3 import S3Maker
from shared.errors import DestinationFailed
from shared.runtime.clock import SystemClock
from tests.support.uploads import LOOPBACK, Kept, MemoryFile, credential, make_certificate, order
from tests.support.web_peer import Call, Said, peer

TLS = httpx.create_ssl_context()
HTTP, S3 = HttpMaker.of(LOOPBACK, TLS, SystemClock()), S3Maker.of(LOOPBACK, TLS)
FILE = MemoryFile(b"a small film")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"


@contextlib.asynccontextmanager
async def sending(
    begin: bytes,
    piece: bytes,
    pause: float = 0.0,
    *,
    tls: ssl.SSLContext | None = None,
    left: asyncio.Event | None = None,
) -> AsyncIterator[tuple[int, list[int]]]:
    """Serve: each connection gets `begin`, and then `piece` for ever; yield the port and the bytes that went out.

    `left` is set when a peer has gone.
    """
    sent: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(ConnectionError):
            if begin.startswith(b"HTTP"):
                await reader.read(1)
            writer.write(begin)
            while True:
                writer.write(piece)
                await writer.drain()
                sent.append(len(piece))
                await asyncio.sleep(pause)
        if left:
            left.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], sent
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_of_an_error_page_only_the_beginning_is_looked_at() -> None:
    pages = {
        b"<" * 65536: "", b"<script" * 9000: "", b"<h1>Full</h1>" + b"<" * 65000: "Full", b"<i>" * 2000 + b"late": "",
    }  # fmt: skip
    for page, said in pages.items():
        async with peer(lambda _call, page=page: Said(500, page)) as server:
            with pytest.raises(DestinationFailed, match="the server failed") as caught:
                await HTTP(order(f"{server.url}/a.mp4")).put(FILE, Kept())
        assert "late" not in str(caught.value)
        assert said in str(caught.value)
        assert len(str(caught.value)) < 400


async def test_properties_that_are_made_to_be_costly_tell_no_length() -> None:
    def answer(call: Call) -> Said:
        return Said(207, b"<getcontentlength" * 3800) if call.method == "PROPFIND" else Said(404)

    async with peer(answer) as server:
        assert not await HTTP(order(server.url.replace("http", "webdav") + "/a.mp4")).holds(FILE)


async def test_an_endless_answer_of_s3_is_read_to_its_limit_only() -> None:
    begin = HEAD + b"\r\n<InitiateMultipartUploadResult>"
    async with sending(begin, b"<a>" * 20_000) as (port, sent):
        given = credential("s3", "AKID", "secret", endpoint=f"http://127.0.0.1:{port}")
        with pytest.raises(DestinationFailed, match="longer than 1 MiB"):
            await S3(order("s3://films/x.mp4", given)).test()
        assert sum(sent) < 32 << 20  # what the sockets' buffers take


def s3_at(port: int) -> Destination:
    return S3(order("s3://films/x.mp4", credential("s3", "AKID", "secret", endpoint=f"http://127.0.0.1:{port}")))


TRICKLES: dict[str, tuple[bytes, bytes, Callable[[int], Destination]]] = {
    "http, fields": (b"HTTP/1.1 200 OK\r\nX: ", b"a", lambda port: HTTP(order(f"http://127.0.0.1:{port}/a.mp4"))),
    "http, interim": (b"HTTP", b"/1.1 102 X\r\n\r\nHTTP", lambda port: HTTP(order(f"http://127.0.0.1:{port}/a.mp4"))),
    "webdav": (HEAD + b"\r\n", b"a", lambda port: HTTP(order(f"webdav://127.0.0.1:{port}/a.mp4"))),
    "s3": (b"HTTP/1.1 200 OK\r\nX: ", b"a", s3_at),
    "ftp": (b"", b"120 wait\r\n", lambda port: FtpMaker(LOOPBACK)(order(f"ftp://127.0.0.1:{port}/a.mp4"))),
}  # fmt: skip


@pytest.mark.parametrize("case", TRICKLES.values(), ids=TRICKLES)
async def test_an_answer_that_comes_byte_by_byte_has_a_time_in_all(
    case: tuple[bytes, bytes, Callable[[int], Destination]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "ASK_S", 0.4)
    monkeypatch.setattr(s3_client, "ANSWER_S", 0.4)
    monkeypatch.setattr(ftp_control, "GREETING_S", 0.4)
    begin, piece, made = case
    async with sending(begin, piece, 0.02) as (port, _):
        async with asyncio.timeout(10):
            with pytest.raises(DestinationFailed, match=r"not answer in time|sends no greeting") as caught:
                await made(port).holds(FILE)
    assert not caught.value.final


async def test_a_call_of_s3_that_is_given_up_ends_its_tls_connection_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "ANSWER_S", 0.4)
    key, certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusted = ssl.create_default_context(cafile=certificate)
    left = asyncio.Event()
    async with sending(b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.02, tls=context, left=left) as (port, _):
        given = credential("s3", "AKID", "secret", endpoint=f"https://localhost:{port}")
        with pytest.raises(DestinationFailed, match="not answer in time"):
            await S3Maker.of(LOOPBACK, trusted)(order("s3://films/x.mp4", given)).holds(FILE)
        await asyncio.wait_for(left.wait(), 10)


async def test_preliminary_replies_have_a_number() -> None:
    async with sending(b"", b"120 wait\r\n") as (port, _):
        with pytest.raises(DestinationFailed, match="does not keep to FTP"):
            await FtpMaker(LOOPBACK)(order(f"ftp://127.0.0.1:{port}/a.mp4")).holds(FILE)


async def test_a_trial_of_a_bucket_that_falls_silent_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its upload is to be dropped, too, by a server that says nothing any more."""
    monkeypatch.setattr(s3, "CLEAR_S", 0.2)
    stuck = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        if b"uploads" in await reader.readuntil(b"\r\n\r\n"):
            writer.write(HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(begin) + begin)
        else:
            stuck.set()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        trial = asyncio.create_task(s3_at(server.sockets[0].getsockname()[1]).test())
        await stuck.wait()
        trial.cancel()
        await asyncio.wait({trial})
    assert trial.cancelled()
