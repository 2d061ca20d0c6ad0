"""Web servers that say yes too early or refuse `Expect`, and tokens that end or are none."""

from __future__ import annotations

import httpx
import pytest

from services.exporter.destinations.http import HttpMaker
from shared.errors import DestinationFailed
from shared.runtime.clock import SystemClock
from tests.support.uploads import LOOPBACK, MIB, Kept, MemoryFile, credential, noise, order
from tests.support.web_peer import Call, Handler, Said, peer

MAKER = HttpMaker.of(LOOPBACK, httpx.create_ssl_context(), SystemClock())
BIG = MemoryFile(noise(5 * MIB + 3))
SMALL = MemoryFile(b"a small film")
LENGTH = b'<D:multistatus xmlns:D="DAV:"><D:getcontentlength>%d</D:getcontentlength></D:multistatus>'


def disk(files: dict[str, bytes]) -> Handler:
    """Return what a server answers that takes files, by PUT or WebDAV."""

    def handle(call: Call) -> Said:
        if call.method == "PUT":
            files[call.path] = call.body
        if call.method == "MOVE":
            files[httpx.URL(call.fields["destination"]).path] = files.pop(call.path)
        if call.method == "PROPFIND":
            found = files.get(call.path)
            return Said(404) if found is None else Said(207, LENGTH % len(found))
        return Said(404 if call.method == "HEAD" else 201)

    return handle


@pytest.mark.parametrize("scheme", ["http", "webdav"])
async def test_a_server_that_does_not_know_expect_gets_the_body_without_it(scheme: str) -> None:
    """RFC 9110, 10.1.1: as lighttpd and some proxies answer."""
    files: dict[str, bytes] = {}

    def first(call: Call) -> Said | None:
        return Said(417) if "expect" in call.fields else None

    async with peer(disk(files), first) as server:
        kept = Kept()
        await MAKER(order(f"{scheme}://127.0.0.1:{server.port}/x.mp4")).put(BIG, kept)
        assert server.methods().count("PUT") == 2
    assert files == {"/x.mp4": BIG.data}


@pytest.mark.parametrize("lingers", [True, False])
async def test_a_yes_before_the_server_has_all_is_none(lingers: bool) -> None:
    """As a program answers that never reads what it is sent."""
    async with peer(lambda _call: Said(404), lambda call: Said(200) if call.method == "PUT" else None) as server:
        server.lingers = lingers
        with pytest.raises(DestinationFailed, match="before it had the whole file") as caught:
            await MAKER(order(f"{server.url}/x.mp4")).put(BIG, Kept())
    assert not caught.value.final


class Tokens:
    """A server of tokens, and of files that takes each token for some requests only."""

    def __init__(self, lasts: int) -> None:
        self.files: dict[str, bytes] = {}
        self.given = 0
        self.left = 0
        self.lasts = lasts
        self._disk = disk(self.files)

    def refused(self, call: Call) -> Said | None:
        if call.path == "/token":
            return None
        if self.left <= 0 or call.fields["authorization"] != f"Bearer tok{self.given}":
            return Said(401)
        self.left -= 1
        return None

    def handle(self, call: Call) -> Said | None:
        if call.path == "/token":
            self.given, self.left = self.given + 1, self.lasts
            return Said(200, b'{"access_token": "tok%d", "expires_in": 3600}' % self.given)
        return self._disk(call)


@pytest.mark.parametrize("scheme", ["http", "webdav"])
@pytest.mark.parametrize("file", [SMALL, BIG], ids=["small", "big"])
async def test_a_token_that_ends_before_its_time_is_fetched_anew(scheme: str, file: MemoryFile) -> None:
    tokens = Tokens(lasts=1)
    async with peer(tokens.handle, tokens.refused) as server:
        given = credential("oauth", "client", "secret", url=f"{server.url}/token")
        to = MAKER(order(f"{scheme}://127.0.0.1:{server.port}/x.mp4", given))
        await to.put(file, Kept())
    assert tokens.files == {"/x.mp4": file.data}
    assert tokens.given > 1


async def test_a_token_that_is_refused_at_once_is_final() -> None:
    tokens = Tokens(lasts=0)
    async with peer(tokens.handle, tokens.refused) as server:
        given = credential("oauth", "client", "secret", url=f"{server.url}/token")
        with pytest.raises(DestinationFailed, match="HTTP 401") as caught:
            await MAKER(order(f"{server.url}/x.mp4", given)).put(SMALL, Kept())
    assert caught.value.final
    assert tokens.given == 2


@pytest.mark.parametrize("scheme", ["http", "webdav"])
@pytest.mark.parametrize("token", ["to\\nken", "t\\u00f6ken-of-ours", " ", "to ken-of-ours", "t" * 9000])
async def test_what_is_no_token_is_told_and_not_shown(scheme: str, token: str) -> None:
    async with peer(lambda _call: Said(200, f'{{"access_token": "{token}"}}'.encode())) as server:
        given = credential("oauth", "client", "secret", url=f"{server.url}/token")
        with pytest.raises(DestinationFailed, match="no token") as caught:
            await MAKER(order(f"{scheme}://127.0.0.1:{server.port}/x.mp4", given)).put(SMALL, Kept())
        assert server.methods() == ["POST"]
    assert "ken" not in str(caught.value).replace("token", "")


async def test_what_another_exporter_has_just_moved_is_found_there() -> None:
    files: dict[str, bytes] = {}
    own, outrun = disk(files), [True]

    def handle(call: Call) -> Said | None:
        said = own(call)
        return Said(404) if call.method == "MOVE" and outrun.pop() else said

    async with peer(handle) as server:
        to, kept = MAKER(order(f"webdav://127.0.0.1:{server.port}/x.mp4")), Kept()
        with pytest.raises(DestinationFailed, match="404 to MOVE") as caught:
            await to.put(SMALL, kept)
        assert not caught.value.final
        await to.put(SMALL, kept)
        assert server.methods().count("PUT") == 1


@pytest.mark.parametrize("status", [207, 403, 500])
async def test_what_could_not_be_removed_is_told(status: int) -> None:
    files: dict[str, bytes] = {}
    own = disk(files)
    async with peer(lambda call: Said(status) if call.method == "DELETE" else own(call)) as server:
        to = MAKER(order(f"webdav://127.0.0.1:{server.port}/x.mp4"))
        for work in (to.test(), to.discard(Kept(resume="{}"))):
            with pytest.raises(DestinationFailed, match=f"{status} to DELETE"):
                await work
