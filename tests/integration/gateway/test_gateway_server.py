"""The HTTP server among peers that flood, drip, stop and lie: each phase of a request at its bound, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.gateway.http.framing import KIB, HttpLimits
from services.gateway.http.protocol import BoundedProtocol, Phase
from services.gateway.http.server import listen, serving
from tests.support.api_gateway import until
from tests.support.http_peers import CHUNKED, PATIENT, POST, READ, Serve, Server

TENTH = timedelta(milliseconds=100)


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Start servers, and count what their parser is given."""
    current: list[Server] = []
    parse, received = BoundedProtocol._parse, BoundedProtocol.data_received

    def counted_parse(self: BoundedProtocol, piece: bytes) -> None:
        current[-1].parsed += len(piece)
        current[-1].parts += 1
        parse(self, piece)

    def counted_received(self: BoundedProtocol, data: bytes) -> None:
        current[-1].connections.add(self)
        current[-1].received += len(data)
        received(self, data)

    monkeypatch.setattr(BoundedProtocol, "_parse", counted_parse)
    monkeypatch.setattr(BoundedProtocol, "data_received", counted_received)
    async with contextlib.AsyncExitStack() as stack:

        async def start(limits: HttpLimits = PATIENT) -> Server:
            bound = stack.enter_context(listen("127.0.0.1", 0))
            server = Server(bound.getsockname()[1])
            current.append(server)
            await stack.enter_async_context(serving(server.app, bound, limits))
            stack.callback(server.gate.set)
            return server

        yield start


def limits(**changed: Any) -> HttpLimits:
    """Give the patient limits with some changed."""
    return HttpLimits(**{name: getattr(PATIENT, name) for name in HttpLimits.__slots__} | changed)


@pytest.mark.parametrize(
    ("opening", "block", "status", "most"),
    [
        (b"", b"G" * 65_536, (400, 431), 64 * KIB),
        (b"", b"\r\n" * 8000, (431,), 64 * KIB),
        (b"GET /", b"a" * 2048, (414,), 19 * KIB),
        (b"GET /held HTTP/1.1\r\nA: ", b"v" * 65_536, (431,), 64 * KIB),
        (b"GET /held HTTP/1.1\r\n", b"a: b\r\n" * 1000, (431,), 64 * KIB),
        (CHUNKED.replace(b"nothing", b"read") + b"1", b";a=" * 20_000, (400,), 1 * KIB),
        (CHUNKED.replace(b"nothing", b"read"), b"1\r\nx\r\n" * 10_000, (413,), 6 * 8192 + 1 * KIB),
        (CHUNKED.replace(b"nothing", b"read") + b"0\r\n", b"".join(b"a%05x: b\r\n" % i for i in range(8000)),
         (431,), 9 * KIB),
        (CHUNKED.replace(b"nothing", b"read") + b"0\r\nA: ", b"v" * 65_536, (431,), 9 * KIB),
        (CHUNKED.replace(b"nothing", b"held") + b"0\r\nA: ", b"v" * 65_536, (431,), 9 * KIB),
    ],
    ids=[
        "method", "empty lines", "target", "header", "headers", "chunk extension", "chunks", "trailers", "trailer",
        "trailer of one who waits",
    ],
)  # fmt: skip
async def test_what_passes_the_bound_of_its_phase_is_refused_and_no_more_of_it_parsed(
    serve: Serve, opening: bytes, block: bytes, status: tuple[int, ...], most: int
) -> None:
    server = await serve(PATIENT)
    call = await server.call(opening)
    _, said = await call.flood(block)
    assert int(said.split()[1]) in status, said[:200]
    assert b"connection: close" in said
    assert server.parsed <= most
    assert server.received <= most + PATIENT.drained + 2 * READ
    assert server.answered == 0


async def test_trailers_and_bodies_behind_an_answer_are_not_kept_and_not_taken_for_long(serve: Serve) -> None:
    """A path that does not exist is answered at once; what still comes is thrown away, and not much of it."""
    server = await serve(PATIENT)
    for opening in (
        CHUNKED + b"0\r\nA: ",
        CHUNKED + b"fffffff\r\n",
        POST % b"nothing" + b"Content-Length: 268435455\r\n\r\n",
    ):
        server.received = server.parsed = 0
        call = await server.call(opening)
        assert await call.status() == 404
        await call.flood(b"v" * 65_536)
        assert server.received <= PATIENT.drained + 2 * READ
        assert server.parsed <= 2 * READ


@pytest.mark.parametrize("parts", [1, 2, 7])
async def test_everything_below_the_bounds_is_taken_however_it_is_cut(serve: Serve, parts: int) -> None:
    server = await serve(PATIENT)
    target = b"read?" + b"a" * (15 * KIB)
    fields = b"".join(b"h%d: %s\r\n" % (i, b"v" * 400) for i in range(95))
    chunks = b"".join(b"80;n=1\r\n%s\r\n" % (b"x" * 128) for _ in range(1000))
    trailers = b"".join(b"t%d: %s\r\n" % (i, b"v" * 100) for i in range(30))
    request = POST % target + b"Transfer-Encoding: chunked\r\n" + fields + b"\r\n" + chunks + b"0\r\n" + trailers
    plain = POST % b"read" + b"Content-Length: 300000\r\n\r\n" + b"\r\n" * 150_000
    whole = (request + b"\r\n" + plain) * 2 + b"GET /nothing HTTP/1.1\r\n\r\n"
    size = -(-len(whole) // parts)
    call = await server.call()
    for start in range(0, len(whole), size):
        call.writer.write(whole[start : start + size])
        await call.writer.drain()
    assert [await call.status() for _ in range(5)] == [200] * 4 + [404]


async def test_a_request_that_comes_byte_by_byte_is_taken(serve: Serve) -> None:
    server = await serve(PATIENT)
    call = await server.call()
    request = (
        CHUNKED.replace(b"nothing", b"read") + b"3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n" + b"GET /nothing HTTP/1.1\r\n\r\n"
    )
    for at in range(len(request)):
        call.writer.write(request[at : at + 1])
        before = server.received
        await until(lambda before=before: _true(server.received > before))
    assert [await call.status(), await call.status()] == [200, 404]


async def _true(value: bool) -> bool:
    return value


async def test_of_pipelined_requests_one_is_parsed_and_no_more_is_read_while_it_is_unanswered(serve: Serve) -> None:
    server = await serve(PATIENT)
    call = await server.call(b"GET /held HTTP/1.1\r\n\r\n" * 2)
    call.writer.write(b"GET /nothing HTTP/1.1\r\n\r\n" * 100_000)
    await until(lambda: _true(server.received > 100))
    other = await server.call(b"GET /nothing HTTP/1.1\r\n\r\n")
    assert await other.status() == 404
    (protocol,) = (p for p in server.connections if not p._answered)
    assert server.begun == 2
    assert server.received <= READ + 200
    assert len(protocol._pending) - protocol._at <= READ
    server.gate.set()
    assert [await call.status() for _ in range(3)] == [200, 200, 404]
    call.writer.transport.abort()


async def test_bodies_are_read_as_they_are_asked_for(serve: Serve) -> None:
    """An application that waits for something else does not let a body pile up."""
    server = await serve(PATIENT)
    call = await server.call(POST % b"held" + b"Content-Length: 33554432\r\n\r\n")
    flood = asyncio.create_task(call.flood(b"x" * 65_536))
    await until(lambda: _true(any(not protocol._reading for protocol in server.connections)))
    other = await server.call(b"GET /nothing HTTP/1.1\r\n\r\n")
    assert await other.status() == 404
    assert server.received <= 2 * READ + PATIENT.piece
    (protocol,) = (p for p in server.connections if not p._answered)
    assert len(protocol.cycle.body) <= 3 * PATIENT.piece
    flood.cancel()
    server.gate.set()
    call.writer.transport.abort()


@pytest.mark.parametrize(
    ("sent", "changed", "answer"),
    [
        (b"", {"head_within": 2 * TENTH}, b""),
        (b"GET /held", {"head_within": 2 * TENTH}, b"408"),
        (b"\r\n", {"head_within": 2 * TENTH}, b"408"),
        (POST % b"read" + b"Content-Length: 9\r\n\r\n", {"rate_interval": 2 * TENTH}, b"408"),
        (POST % b"held" + b"Content-Length: 9\r\n\r\n", {"rate_interval": 2 * TENTH}, b"408"),
        (POST % b"nothing" + b"Content-Length: 9\r\n\r\n", {"drain_within": 2 * TENTH}, b"404"),
        (POST % b"nothing" + b"Content-Length: 999999\r\n\r\n", {"drain_within": 2 * TENTH}, b"404"),
        (CHUNKED, {"drain_within": 2 * TENTH}, b"404"),
        (b"GET /nothing HTTP/1.1\r\n\r\n", {"idle": 2 * TENTH}, b"404"),
        (b"GET /nothing HTTP/1.1\r\n\r\n\r", {"idle": 2 * TENTH, "head_within": 2 * TENTH}, b"404"),
    ],
    ids=[
        "nothing", "half a head", "an empty line", "a body that is read", "a body that is not", "after an answer",
        "much after an answer", "chunks after an answer", "after a request", "an empty line after a request",
    ],
)  # fmt: skip
async def test_every_phase_ends_though_the_peer_says_nothing_more(
    serve: Serve, sent: bytes, changed: dict[str, Any], answer: bytes
) -> None:
    server = await serve(limits(**changed))
    call = await server.call(sent)
    async with asyncio.timeout(20):
        said = await call.reader.read()
    assert answer in said[:20]
    call.writer.close()


@pytest.mark.parametrize(
    ("opening", "changed"),
    [
        (b"GET /held HTTP/1.1\r\nA: ", {"head_within": 3 * TENTH}),
        (POST % b"read" + b"Content-Length: 1000000\r\n\r\n", {"rate_interval": TENTH}),
        (
            POST % b"read" + b"Content-Length: 1000000\r\n\r\n",
            {"rate_interval": TENTH, "rate_bytes": 1, "body_within": 3 * TENTH},
        ),
        (POST % b"nothing" + b"Content-Length: 1000000\r\n\r\n", {"drain_within": 3 * TENTH}),
        (POST % b"nothing" + b"Content-Length: 1000\r\n\r\n", {"drain_within": 3 * TENTH}),
        (CHUNKED, {"drain_within": 3 * TENTH}),
    ],
    ids=["head", "body, rate", "body, whole", "after an answer", "little after an answer", "chunks after an answer"],
)
async def test_dripping_puts_no_deadline_off(serve: Serve, opening: bytes, changed: dict[str, Any]) -> None:
    server = await serve(limits(**changed))
    call = await server.call(opening)
    await call.flood(b"1", 0.01)  # the drip itself


async def test_a_small_rest_of_a_body_does_not_cost_the_connection(serve: Serve) -> None:
    server = await serve(PATIENT)
    call = await server.call(POST % b"nothing" + b"Content-Length: 60000\r\n\r\n")
    assert await call.status() == 404
    call.writer.write(b"x" * 60_000 + b"GET /nothing HTTP/1.1\r\n\r\n")
    assert await call.status() == 404
    large = await server.call(POST % b"nothing" + b"Content-Length: 70000\r\n\r\n")
    head = await large.reader.readuntil(b"\r\n\r\n")
    assert b"connection: close" in head


async def test_of_those_who_send_no_request_the_oldest_make_room_and_who_is_answered_stays(serve: Serve) -> None:
    server = await serve(limits(waiting=1000, waiting_each=20))
    held = await server.call(b"GET /held HTTP/1.1\r\n\r\n")
    await until(lambda: _true(server.begun == 1))
    silent = [await server.call(b"GET /") for _ in range(50)]
    for call in silent[:30]:
        await call.is_closed()
    assert not any(call.reader.at_eof() for call in silent[30:])
    other = await server.call(b"GET /nothing HTTP/1.1\r\n\r\n")
    assert await other.status() == 404
    server.gate.set()
    assert await held.status() == 200


async def test_connections_are_bounded_in_all(serve: Serve) -> None:
    server = await serve(limits(connections=10))
    held = [await server.call(b"GET /held HTTP/1.1\r\n\r\n") for _ in range(5)]
    await until(lambda: _true(server.begun == 5))
    silent = [await server.call() for _ in range(10)]
    for call in silent[:5]:
        await call.is_closed()
    held += [await server.call(b"GET /held HTTP/1.1\r\n\r\n") for _ in range(5)]
    await until(lambda: _true(server.begun == 10))
    await (await server.call(b"GET /nothing HTTP/1.1\r\n\r\n")).is_closed()
    server.gate.set()
    assert [await call.status() for call in held] == [200] * 10


async def test_who_waits_to_be_asked_for_its_body_is_not_overdue(serve: Serve) -> None:
    """Expect: 100-continue (RFC 9110, 10.1.1): as long as the application has not asked, the next step is ours."""
    server = await serve(limits(rate_interval=TENTH / 2, body_within=2 * TENTH))
    call = await server.call(POST % b"held" + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
    overdue = await server.call(POST % b"held" + b"Content-Length: 9\r\n\r\n")
    assert await overdue.status() == 408  # of the same age, but nothing keeps it from sending
    again = await server.call(POST % b"held" + b"Content-Length: 9\r\n\r\n")
    assert await again.status() == 408
    server.gate.set()
    assert await call.status() == 200


async def test_who_takes_an_answer_byte_by_byte_is_let_go(serve: Serve) -> None:
    server = await serve(limits(stall_interval=2 * TENTH, stall_bytes=64 * KIB))
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        slow.setblocking(False)

        async def let_go() -> bool:
            with contextlib.suppress(BlockingIOError):
                slow.recv(1)
            return server.begun == 1 and not any(p._phase is not Phase.GONE for p in server.connections)

        await until(let_go)
    quick = await server.call(b"GET /large HTTP/1.1\r\n\r\n")
    assert await quick.status() == 200


async def test_who_does_not_take_its_answer_shuts_out_nobody(serve: Serve) -> None:
    server = await serve(limits(connections=12))
    held = [await server.call(b"GET /held HTTP/1.1\r\n\r\n") for _ in range(2)]
    await until(lambda: _true(server.begun == 2))
    slow = []
    for number in range(10):
        one = socket.create_connection(("127.0.0.1", server.port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        slow.append(one)
        await until(lambda number=number: _true(sum(p.flow.write_paused for p in server.connections) > number))
    others = []
    for _ in range(5):
        others.append(await server.call(b"GET /nothing HTTP/1.1\r\n\r\n"))
        assert await others[-1].status() == 404
    server.gate.set()
    assert [await call.status() for call in held] == [200, 200]
    for one in slow:
        one.close()


async def test_another_protocol_is_not_taken_up(serve: Serve) -> None:
    server = await serve(PATIENT)
    call = await server.call(
        b"GET /nothing HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n"
    )
    assert await call.status() == 404
    await call.is_closed()
    assert server.begun == 1
