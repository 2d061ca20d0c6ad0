"""Behind a balancer: who calls is who the balancer says, and nobody else may say so."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from services.ingester.rtmp import RtmpServer, proxied
from services.ingester.rtmp.limits import RtmpLimits
from tests.support.api_gateway import gateway
from tests.support.nats import NatsServer
from tests.support.rtmp_client import RtmpClient
from tests.support.rtmp_server import LIMIT, QUICK, Ingest
from tests.support.shared_bus import free_port
from tests.support.waiting import wait_until
from tests.unit.shared.security.test_proxied import SIGNATURE, v2

HERE = [ipaddress.ip_network("127.0.0.0/8")]
FIRST = b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 1935\r\n"
HEADERS = [(FIRST, "203.0.113.7:40000"), (v2(), "203.0.113.7:40000"), (v2(family=0x21), "[2001:db8::7]:40000")]
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")


@contextmanager
def behind(
    networks: list[ipaddress.IPv4Network], limits: RtmpLimits = QUICK
) -> Iterator[tuple[RtmpServer[str], Ingest]]:
    ingest = Ingest()
    server = RtmpServer("127.0.0.1", 0, ingest.authorize, ingest.on_publish, limits)
    server.start(networks)
    try:
        yield server, ingest
    finally:
        assert server.stop(LIMIT), "a thread is left"


@pytest.mark.parametrize(("header", "peer"), HEADERS)
@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_rtmp_publishers_have_the_address_that_a_balancer_tells(header: bytes, peer: str, piece: int) -> None:
    with behind(HERE) as (server, ingest), RtmpClient(server.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(header), piece):
            client.socket.sendall(header[at : at + piece])
        client.publish()
        assert ingest.asked[0].peer == peer


def test_a_balancer_s_own_check_comes_from_itself() -> None:
    with behind(HERE) as (server, ingest), RtmpClient(server.port) as client:
        client.socket.sendall(v2(command=0x20, family=0, body=b""))
        client.publish()
        assert ingest.asked[0].host == "127.0.0.1"


@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 1 2 3 4\r\n", SIGNATURE + b"\x21\x11\xff\xff"])
def test_a_balancer_without_a_good_header_is_refused(header: bytes) -> None:
    with behind(HERE) as (server, ingest), RtmpClient(server.port) as client:
        client.socket.sendall(header + b"\x03" + bytes(1536))
        assert client.is_closed()
        assert ingest.asked == []


def test_headers_that_do_not_come_end_and_let_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxied, "HEADER_WITHIN", timedelta(milliseconds=500))
    monkeypatch.setattr(proxied, "MOST", 8)
    with behind(HERE) as (server, ingest), ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(12)]
        for sock in silent[:4]:
            sock.sendall(SIGNATURE[:5])
        for sock in silent:
            sock.settimeout(20)
            assert sock.recv(1) == b""
        with RtmpClient(server.port) as client:
            client.socket.sendall(v2())
            client.publish()
        assert len(ingest.asked) == 1
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "rtmp-proxy"])


def test_strangers_may_not_say_who_they_are() -> None:
    with behind([ipaddress.ip_network("10.0.0.0/8")]) as (server, ingest):
        with RtmpClient(server.port) as client:
            client.publish()
        with RtmpClient(server.port) as liar:
            liar.socket.sendall(FIRST)
            liar.socket.sendall(b"\x03" + bytes(1536))
            assert liar.is_closed()
        assert [asked.host for asked in ingest.asked] == ["127.0.0.1"]


def ask(port: int, header: bytes, key: str = "rl_unknown", piece: int = 4096) -> int:
    """Make a request behind a header; its status, 0 for none."""
    request = header + f"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-API-KEY: {key}\r\nConnection: close\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = bytearray()
        try:
            for at in range(0, len(request), piece):
                sock.sendall(request[at : at + piece])
            while came := sock.recv(65536):
                answer += came
        except ConnectionError:
            pass
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def test_http_callers_are_counted_by_the_address_that_a_balancer_tells(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path) as plain:
        port = httpx.URL(plain.parts.public.base).port or 0
        assert await asyncio.to_thread(ask, port, b"", plain.admin) == 200
        assert await asyncio.to_thread(ask, port, FIRST, plain.admin) == 400, "nobody here may say so"
    async with gateway(nats, tmp_path, proxy_nets="127.0.0.0/8") as api:
        port = httpx.URL(api.parts.public.base).port or 0

        def callers() -> None:
            for piece in (1, 13, 4096):
                assert ask(port, v2(), api.admin, piece) == 200
                assert ask(port, FIRST, api.admin, piece) == 200
            assert ask(port, b"", api.admin) == 0, "a balancer says for whom it speaks"
            assert ask(port, b"PROXY TCP4 nonsense\r\n", api.admin) == 0
            assert ask(port, v2(command=0x20, family=0, body=b""), api.admin) == 200
            tries = [ask(port, v2(), f"rl_{n}") for n in range(60)]
            assert tries[0] == 401
            assert 429 in tries, "one network asks for too many keys"
            assert ask(port, v2(family=0x21)) == 401, "another does not pay for it"

        await asyncio.to_thread(callers)


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed (Debian's package haproxy)")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_a_real_haproxy(tmp_path: Path, version: str) -> None:
    assert HAPROXY
    front = free_port()
    with behind(HERE) as (server, ingest):
        (tmp_path / "cfg").write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"listen rtmp\n bind 127.0.0.1:{front}\n server one 127.0.0.1:{server.port} {version}\n"
        )
        process = subprocess.Popen([HAPROXY, "-db", "-f", tmp_path / "cfg"], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: listens(front))
            with RtmpClient(front) as client:
                own = client.socket.getsockname()
                client.publish()
                assert ingest.asked[-1].peer == f"{own[0]}:{own[1]}"
        finally:
            process.kill()
            process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
