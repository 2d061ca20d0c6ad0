"""Files to web servers by PUT: refused early or late, redirected, slow, lying; and what the user is told."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import httpx
import pytest

from services.exporter.destinations import telling
from services.exporter.destinations.http import HttpMaker
from shared.errors import DestinationFailed
from shared.runtime.clock import SystemClock
from tests.support.uploads import LOOPBACK, MIB, Kept, MemoryFile, credential, noise, order
from tests.support.web_line import line
from tests.support.web_peer import Call, Peer, Said, peer

MAKER = HttpMaker.of(LOOPBACK, httpx.create_ssl_context(), SystemClock())
BIG = MemoryFile(noise(5 * MIB + 3))
SMALL = MemoryFile(b"a small film")
LOGIN = credential("http", "desk", "pass/word")
BASIC = "Basic ZGVzazpwYXNzL3dvcmQ="
HIDDEN = ("pass/word", "t=1")


class Disk:
    """What a plain server keeps: it takes all PUTs, and tells of files by HEAD."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def __call__(self, call: Call) -> Said:
        if call.method == "PUT":
            self.files[call.path] = call.body
            return Said(201)
        if call.method == "DELETE":
            self.files.pop(call.path, None)
            return Said(204)
        if call.path not in self.files:
            return Said(404)
        return Said(200, fields={"Content-Length": str(len(self.files[call.path])), "ETag": '"1"'})


@pytest.mark.parametrize("file", [MemoryFile(b""), SMALL, BIG], ids=["empty", "small", "big"])
async def test_a_file_arrives_with_its_login_and_type(file: MemoryFile) -> None:
    disk, kept = Disk(), Kept()
    async with peer(disk) as server:
        to = MAKER(order(f"{server.url}/in/?token=t", LOGIN))
        assert not await to.holds(file)
        assert await to.put(file, kept) == f"{server.url}/in/clip.mp4"
        assert await to.holds(file)
        assert not await to.holds(MemoryFile(b"another"))
    put = next(call for call in server.calls if call.method == "PUT")
    assert disk.files["/in/clip.mp4"] == file.data
    assert put.fields["authorization"] == BASIC
    assert put.fields["content-type"] == "video/mp4"
    assert put.query == {"token": ["t"]}
    assert ("expect" in put.fields) == (file is BIG)
    assert kept.totals[-1:] == [file.size] or not file.size


async def test_the_urls_own_login_wins_and_is_never_shown() -> None:
    async with peer(lambda _call: Said(500, b"<h1>bad token=pa ss</h1>")) as server:
        url = server.url.replace("//", "//other:pa%20ss@")
        with pytest.raises(DestinationFailed, match="server failed") as caught:
            await MAKER(order(f"{url}/x.mp4?token=t", LOGIN)).put(SMALL, Kept())
    assert server.calls[0].fields["authorization"] == "Basic b3RoZXI6cGEgc3M="
    assert "pa ss" not in str(caught.value)
    assert "token=t" not in str(caught.value)


class Refusal(NamedTuple):
    status: int
    final: bool
    words: str
    fields: dict[str, str] = {}  # noqa: RUF012  never changed


METADATA = {"Location": "http://169.254.169.254/latest/meta-data/"}
REFUSALS = {
    "no login": Refusal(401, True, "not accepted"),
    "another login": Refusal(401, True, "another kind of login", {"WWW-Authenticate": 'Digest realm="x"'}),
    "forbidden": Refusal(403, True, "forbidden"),
    "nothing there": Refusal(404, True, "nothing of this name"),
    "no PUT": Refusal(405, True, "does not allow"),
    "no folder": Refusal(409, True, "folder above"),
    "too large": Refusal(413, True, "larger than"),
    "teapot": Refusal(418, True, "refused"),
    "locked": Refusal(423, False, "locked"),
    "slow down": Refusal(429, False, "asks to come again in 4000 s", {"Retry-After": "4000"}),
    "broken": Refusal(500, False, "server failed"),
    "gateway": Refusal(502, False, "behind it failed"),
    "away": Refusal(503, False, "under repair"),
    "full": Refusal(507, False, "no room"),
    "moved": Refusal(301, True, "redirects to http://example.com/new", {"Location": "http://example.com/new?t=1"}),
    "see other": Refusal(303, True, "redirects"),
    "inside": Refusal(307, True, "may not be reached", METADATA),
    "inside for good": Refusal(308, True, "may not be reached", METADATA),
    "to a file": Refusal(307, True, "scheme", {"Location": "file:///etc/passwd"}),
}


@pytest.mark.parametrize("when", ["before the body", "before the body, and keeps the line", "after the body"])
@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_heard_whenever_it_comes(case: Refusal, when: str) -> None:
    said = Said(case.status, b"<p>because</p>", case.fields)
    early = (lambda _call: said) if when.startswith("before") else (lambda _call: None)
    async with peer(lambda _call: said, early, lingers=when.endswith("line")) as server:
        with pytest.raises(DestinationFailed, match=case.words) as caught:
            await MAKER(order(f"{server.url}/x.mp4", LOGIN)).put(BIG, Kept())
    assert caught.value.final == case.final
    assert not any(word in str(caught.value) for word in HIDDEN)


async def test_a_refusal_in_the_middle_of_the_body_is_heard() -> None:
    """The server never says 100, reads a part, answers and closes: as those do that count while they read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2 * MIB)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        with pytest.raises(DestinationFailed, match="larger than") as caught:
            await MAKER(order(url)).put(MemoryFile(noise(30 * MIB)), Kept())
    assert caught.value.final


async def test_a_server_without_100_gets_the_body_all_the_same() -> None:
    disk = Disk()
    async with peer(disk, continues=False) as server:
        await MAKER(order(f"{server.url}/x.mp4")).put(BIG, Kept())
    assert disk.files["/x.mp4"] == BIG.data


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_is_followed_once_and_strangers_get_no_login(status: int) -> None:
    disk = Disk()
    async with peer(disk) as other:
        to = Said(status, fields={"Location": f"{other.url}/there.mp4?sig=1"})
        async with peer(disk, lambda _call: to) as server:
            await MAKER(order(f"{server.url}/x.mp4", LOGIN)).put(BIG, Kept())
            assert server.methods() == ["PUT"]
        assert disk.files["/there.mp4"] == BIG.data
        assert all("authorization" not in call.fields for call in other.calls)
    async with peer(disk, lambda _call: Said(status, fields={"Location": "/again"})) as server:
        with pytest.raises(DestinationFailed, match="redirects"):
            await MAKER(order(f"{server.url}/x.mp4", LOGIN)).put(SMALL, Kept())
        assert server.methods() == ["PUT", "PUT"]


async def test_a_short_pause_that_is_asked_for_is_kept() -> None:
    disk, answers = Disk(), iter([Said(503, fields={"Retry-After": "0"})])
    async with peer(lambda call: next(answers, None) or disk(call)) as server:
        await MAKER(order(f"{server.url}/x.mp4")).put(SMALL, Kept())
    assert disk.files["/x.mp4"] == SMALL.data


def lies(call: Call) -> Said:
    return Said(201) if call.method == "PUT" else Said(200, fields={"Content-Length": "7", "Last-Modified": "now"})


LENGTHS = {
    "has not all": (lies, "has 7 of its 12 bytes"),
    "tells nothing": (lambda call: Said(201 if call.method == "PUT" else 405), ""),
    "a program's page": (lambda call: Said(200, b"" if call.method == "PUT" else b"upload page"), ""),
}


@pytest.mark.parametrize(("handle", "words"), LENGTHS.values(), ids=LENGTHS)
async def test_the_length_is_checked_where_the_server_tells_it_of_a_file(handle: object, words: str) -> None:
    async with peer(handle) as server:  # type: ignore[arg-type]
        to = MAKER(order(f"{server.url}/x.mp4"))
        if not words:
            await to.put(SMALL, Kept())
            return
        with pytest.raises(DestinationFailed, match=words) as caught:
            await to.put(SMALL, Kept())
        assert not caught.value.final


async def test_a_connection_cut_at_half_is_transient() -> None:
    async with peer(Disk()) as server, line(server.port, cut_after=BIG.size // 2) as cut:
        to = MAKER(order(f"http://127.0.0.1:{cut.port}/x.mp4"))
        with pytest.raises(DestinationFailed, match="connection was closed") as caught:
            await to.put(BIG, Kept())
        assert not caught.value.final
        await to.put(BIG, Kept())


async def test_nobody_and_no_http_are_told() -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 an FTP server\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(DestinationFailed, match="no HTTP server"):
            await MAKER(order(f"http://127.0.0.1:{port}/x")).put(SMALL, Kept())
    with pytest.raises(DestinationFailed, match="no connection") as caught:
        await MAKER(order(f"http://127.0.0.1:{port}/x")).put(SMALL, Kept())
    assert not caught.value.final


async def test_a_server_that_works_long_after_the_last_byte_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "ALIVE_S", 0.05)
    kept, disk = Kept(), Disk()

    async def work(to: Peer) -> None:
        await MAKER(order(f"{to.url}/x.mp4")).put(SMALL, kept)

    async with peer(disk) as server:
        original, gate = server.serve, asyncio.Event()

        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await original(reader, writer)

        server.serve = late  # type: ignore[method-assign]
        putting = asyncio.create_task(work(server))
        async with asyncio.timeout(20):
            while len(kept.totals) < 5:  # noqa: ASYNC110  told again and again
                await asyncio.sleep(0.01)
        gate.set()
        await putting


INSIDE = [
    "http://169.254.169.254/x",
    "http://127.0.0.1:1/x",
    "http://[::1]/x",
    "http://localhost/x",
    "webdav://10.1.1.1/",
]


@pytest.mark.parametrize("url", INSIDE)
def test_an_address_inside_is_refused_at_once(url: str) -> None:
    with pytest.raises(DestinationFailed, match="may not be reached") as caught:
        HttpMaker.of((), httpx.create_ssl_context(), SystemClock())(order(url))
    assert caught.value.final


async def test_a_token_is_fetched_for_oauth_credentials_and_used_for_all() -> None:
    disk = Disk()

    def handle(call: Call) -> Said:
        if call.path == "/token":
            assert call.body == b"grant_type=client_credentials"
            return Said(200, b'{"access_token": "tok", "expires_in": 300}')
        assert call.fields["authorization"] == "Bearer tok"
        return disk(call)

    async with peer(handle) as server:
        given = credential("oauth", "client", "secret", url=f"{server.url}/token")
        await MAKER(order(f"{server.url}/x.mp4", given)).put(SMALL, Kept())
        assert server.methods() == ["POST", "PUT", "HEAD"]


async def test_a_test_leaves_nothing_and_says_what_is_wrong() -> None:
    disk = Disk()
    async with peer(disk) as server:
        await MAKER(order(f"{server.url}/in/x.mp4", LOGIN)).test()
        assert server.methods() == ["PUT", "DELETE"]
        assert not disk.files
        await MAKER(order(f"{server.url}/in/x.mp4?signature=1", LOGIN)).test()
        assert server.methods()[2:] == ["HEAD"]
    async with peer(lambda _call: Said(401)) as server:
        with pytest.raises(DestinationFailed, match="not accepted"):
            await MAKER(order(f"{server.url}/in/x.mp4", LOGIN)).test()
