"""Files to real WebDAV servers: under another name first, moved at once, folders made, refused, resumed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from services.exporter.destinations import http_webdav
from services.exporter.destinations.base import Destination
from services.exporter.destinations.http import HttpMaker
from shared.errors import DestinationFailed
from shared.runtime.clock import SystemClock
from tests.support.uploads import LOOPBACK, MIB, Kept, MemoryFile, credential, noise, order
from tests.support.web_line import line
from tests.support.web_peer import Call, Said, peer
from tests.support.web_servers import USER, DavServer, nginx_missing, nginx_webdav, rclone_webdav

MAKER = HttpMaker.of(LOOPBACK, httpx.create_ssl_context(), SystemClock())
FILE = MemoryFile(noise(5 * MIB + 3))


@pytest.fixture(scope="module", params=[rclone_webdav, nginx_webdav], ids=["rclone", "nginx"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DavServer]:
    if request.param is nginx_webdav and nginx_missing():
        pytest.skip(nginx_missing())
    with request.param(tmp_path_factory.mktemp("dav")) as found:
        yield found


def destination(server: DavServer, path: str, accuracy: str = "segment", at: int = 0) -> Destination:
    url = f"webdav://127.0.0.1:{at}/{path}" if at else server.url(path)
    return MAKER(order(url, server.credentials(), accuracy=accuracy))


@pytest.mark.parametrize("size", [0, 1, FILE.size])
async def test_a_file_arrives_and_the_exact_one_replaces_it(server: DavServer, size: int) -> None:
    for seed, accuracy in enumerate(("segment", "frame")):
        file, kept = MemoryFile(noise(size, seed)), Kept()
        to = destination(server, f"f{size}.mp4", accuracy)
        assert await to.put(file, kept) == server.url(f"f{size}.mp4")
        assert server.files()[f"f{size}.mp4"] == file.data
        assert await to.holds(file)
        assert not await to.holds(MemoryFile(noise(size + 1)))
    assert not [name for name in server.files() if "tmp" in name]


async def test_folders_that_are_missing_are_made(server: DavServer) -> None:
    await destination(server, "a/b%20c/d/").put(FILE, Kept())
    await destination(server, "a/b%20c/e/x.mp4").put(FILE, Kept())
    assert server.files()["a/b c/d/clip.mp4"] == FILE.data
    assert server.files()["a/b c/e/x.mp4"] == FILE.data


async def test_until_it_is_whole_the_old_file_stays(server: DavServer) -> None:
    await destination(server, "stays.mp4").put(MemoryFile(b"fast"), Kept())
    kept = Kept()
    async with line(server.port, hold_after=4 * MIB) as held:
        putting = asyncio.create_task(destination(server, "stays.mp4", "frame", held.port).put(FILE, kept))
        await held.full.wait()
        assert server.files()["stays.mp4"] == b"fast"
        putting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await putting
    assert server.files()["stays.mp4"] == b"fast"
    to = destination(server, "stays.mp4", "frame")
    await to.discard(kept)
    await to.discard(kept)
    assert not [name for name in server.files() if name.startswith("stays.mp4.")]
    await to.put(FILE, kept)
    assert server.files()["stays.mp4"] == FILE.data


async def tried(to: Destination) -> None:
    """Put again while a server holds a lock for what broke off, as the exporter does."""
    async with asyncio.timeout(60):
        while True:
            try:
                await to.put(FILE, Kept())
            except DestinationFailed as failed:
                if failed.final:
                    raise
            else:
                return


async def test_a_connection_cut_at_half_is_transient(server: DavServer) -> None:
    async with line(server.port, cut_after=FILE.size // 2) as cut:
        with pytest.raises(DestinationFailed, match="connection was closed") as caught:
            await destination(server, "cut.mp4", at=cut.port).put(FILE, Kept())
        assert not caught.value.final
        assert "cut.mp4" not in server.files()
        await tried(destination(server, "cut.mp4", at=cut.port))
    assert server.files()["cut.mp4"] == FILE.data


class KilledError(Exception):
    """Stands for the exporter's end."""


async def test_after_a_kill_before_the_move_nothing_is_sent_again(server: DavServer) -> None:
    kept = Kept()

    def kill(note: str) -> None:
        if '"whole": true' in note:
            raise KilledError

    kept.on_keep = kill
    with pytest.raises(KilledError):
        await destination(server, "moved.mp4").put(FILE, kept)
    kept.on_keep = lambda _note: None
    for _ in range(2):  # the second time, the move is done, too
        async with line(server.port) as counted:
            await destination(server, "moved.mp4", at=counted.port).put(FILE, kept)
        assert counted.to_server < 10_000
        assert server.files()["moved.mp4"] == FILE.data
    changed = MemoryFile(noise(FILE.size, 7))  # of the same size: another file is sent, whatever the note says
    await destination(server, "moved.mp4").put(changed, kept)
    assert server.files()["moved.mp4"] == changed.data


async def test_two_exporters_at_once_leave_one_whole_file(server: DavServer) -> None:
    await asyncio.gather(*(tried(destination(server, "two.mp4", accuracy)) for accuracy in ("segment", "frame")))
    assert server.files()["two.mp4"] == FILE.data


async def test_a_wrong_password_is_final_and_said_before_the_file_is_sent(server: DavServer) -> None:
    to = MAKER(order(server.url("x.mp4"), credential("http", USER, "not-the-one")))
    kept = Kept()
    for work in (to.put(FILE, kept), to.test()):
        with pytest.raises(DestinationFailed, match="user or the password") as caught:
            await work
        assert caught.value.final
    assert "x.mp4" not in server.files()


async def test_a_folder_that_vanishes_between_fast_and_exact_is_made_again(server: DavServer) -> None:
    await destination(server, "fleeting/x.mp4").put(MemoryFile(b"fast"), Kept())
    (server.root / "fleeting/x.mp4").unlink()
    (server.root / "fleeting").rmdir()
    await destination(server, "fleeting/x.mp4", "frame").put(FILE, Kept())
    assert server.files()["fleeting/x.mp4"] == FILE.data


async def test_a_test_leaves_nothing(server: DavServer) -> None:
    before = server.files()
    await destination(server, "not/yet/there/").test()
    assert server.files() == before
    assert not (server.root / "not").exists()


async def test_what_is_larger_than_nginx_takes_is_final(server: DavServer) -> None:
    if not (server.root.parent / "nginx.conf").exists():
        pytest.skip("rclone takes any size")
    with pytest.raises(DestinationFailed, match="larger than") as caught:
        await destination(server, "large.mp4").put(MemoryFile(noise(9 * MIB)), Kept())
    assert caught.value.final


LENGTH = b'<D:multistatus xmlns:D="DAV:"><D:getcontentlength>%d</D:getcontentlength></D:multistatus>'


class Fault(NamedTuple):
    at: str
    said: Said
    final: bool
    words: str


FAULTS = {
    "full": Fault("PUT", Said(507), False, "no room"),
    "locked": Fault("PUT", Said(423), False, "locked"),
    "not made": Fault("MKCOL", Said(403), True, "forbidden"),
    "no move": Fault("MOVE", Said(405), True, "does not allow"),
    "move fails": Fault("MOVE", Said(500), False, "server failed"),
    "has not all": Fault("PROPFIND", Said(207, LENGTH % 7), False, "has 7 of its"),
    "has nothing": Fault("PROPFIND", Said(404), False, "does not have it"),
    "redirects inside": Fault("PUT", Said(307, fields={"Location": "http://169.254.169.254/"}), True, "redirects"),
}


@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_told_and_says_whether_another_try_can_help(
    case: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_webdav, "LOCK_S", 0.001)

    def handle(call: Call) -> Said:
        if call.method == case.at:
            return case.said
        if call.method == "PROPFIND":
            return Said(207, LENGTH % FILE.size)
        return Said(409) if call.method == "PUT" and case.at == "MKCOL" else Said(201)

    async with peer(handle) as server:
        with pytest.raises(DestinationFailed, match=case.words) as caught:
            await MAKER(order(f"webdav://127.0.0.1:{server.port}/a/x.mp4")).put(FILE, Kept())
    assert caught.value.final == case.final


async def test_a_server_that_refuses_the_absolute_destination_gets_the_path() -> None:
    def handle(call: Call) -> Said:
        if call.method == "MOVE":
            return Said(201 if call.fields["destination"].startswith("/") else 502)
        return Said(207, LENGTH % FILE.size) if call.method == "PROPFIND" else Said(201)

    async with peer(handle) as server:
        await MAKER(order(f"webdav://127.0.0.1:{server.port}/a/x.mp4")).put(FILE, Kept())
    moves = [call.fields for call in server.calls if call.method == "MOVE"]
    assert [move["destination"] for move in moves] == [f"{server.url}/a/x.mp4", "/a/x.mp4"]
    assert all(move["overwrite"] == "T" for move in moves)


async def test_a_server_without_propfind_is_asked_by_head() -> None:
    def handle(call: Call) -> Said:
        if call.method == "HEAD":
            return Said(200, fields={"Content-Length": str(FILE.size)})
        return Said(405 if call.method == "PROPFIND" else 201)

    async with peer(handle) as server:
        await MAKER(order(f"webdav://127.0.0.1:{server.port}/a/x.mp4")).put(FILE, Kept())


@pytest.mark.parametrize("status", [504, 423])
async def test_a_move_that_happens_although_it_is_said_to_have_failed_is_found_done(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Nextcloud behind a proxy of less patience, or with its own locks."""
    monkeypatch.setattr(http_webdav, "LOCK_S", 0.001)
    moved: list[Call] = []

    def handle(call: Call) -> Said:
        if call.method == "MOVE":
            moved.append(call)
            return Said(status)
        if call.method == "PROPFIND":
            return Said(404) if moved and "tmp" in call.path else Said(207, LENGTH % FILE.size)
        return Said(201)

    async with peer(handle) as server:
        to, kept = MAKER(order(f"webdav://127.0.0.1:{server.port}/a/x.mp4")), Kept()
        with pytest.raises(DestinationFailed) as caught:
            await to.put(FILE, kept)
        assert not caught.value.final
        await to.put(FILE, kept)
        assert server.methods().count("PUT") == 1
