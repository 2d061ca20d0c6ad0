"""FTP servers that are cut off, full or slow, and an exporter that is killed: what was sent is not sent again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from services.exporter.destinations.ftp import FtpDestination, FtpMaker
from shared.errors import DestinationFailed
from tests.support.disk import MIB, small_disk
from tests.support.ftp_servers import PASSWORD, FtpServer, ftp_server
from tests.support.peers import missing
from tests.support.relay import HOST, Relay, relay
from tests.support.upload_child import film
from tests.support.uploads import ALLOWED, Kept, MemoryFile, login_order, make_certificate
from tests.support.waiting import comes, wait_until

KINDS = [("vsftpd", ""), ("vsftpd", "explicit"), ("proftpd", "explicit")]
SIZE = 8 * MIB
NAME = "site/clip.mp4"


@contextmanager
def running(kind: str, tls: str, folder: Path, root: Path | None = None) -> Iterator[FtpServer]:
    if missing(kind):
        pytest.skip(missing(kind))
    with ftp_server(kind, folder, make_certificate(folder / "certificate"), tls=tls, root=root) as server:
        yield server


def relayed(server: FtpServer) -> list[int]:
    return [server.port, *server.passive]


def target(server: FtpServer, host: str = HOST) -> FtpDestination:
    given = login_order(server.url(NAME, host), server.user, PASSWORD, tls=server.tls)
    return FtpMaker(ALLOWED, str(server.cert))(given)


def parts(server: FtpServer) -> list[Path]:
    return [path for path in server.root.rglob(".reelay*") if path.is_file()]


@pytest.mark.parametrize(("kind", "tls"), KINDS)
async def test_a_connection_that_is_cut_at_half_goes_on_from_there(kind: str, tls: str, tmp_path: Path) -> None:
    file, told = MemoryFile(film(SIZE)), Kept()
    with running(kind, tls, tmp_path) as server:
        async with relay(relayed(server)) as line:
            line.cut_at = SIZE // 2
            with pytest.raises(DestinationFailed) as failed:
                await target(server).put(file, told)
            assert not failed.value.final
            assert not (server.root / NAME).exists()
            line.cut_at = None
            written = sum(path.stat().st_size for path in parts(server))  # a busy server has not read all that passed
            await target(server).put(file, told)
            assert file.read_from[-1] >= written > 0
        assert (server.root / NAME).read_bytes() == file.data
        assert not parts(server)


@pytest.mark.parametrize(("kind", "tls"), KINDS)
async def test_a_killed_exporter_leaves_what_its_successor_goes_on_with(kind: str, tls: str, tmp_path: Path) -> None:
    with running(kind, tls, tmp_path) as server:
        async with relay(relayed(server)) as line:
            line.bytes_per_s = SIZE
            told = await killed_at_half(server, line)
            line.bytes_per_s = None
            file, written = MemoryFile(film(SIZE)), sum(path.stat().st_size for path in parts(server))
            await target(server).put(file, told)
            assert file.read_from[-1] >= written > 0
        assert (server.root / NAME).read_bytes() == file.data
        assert not parts(server)


async def killed_at_half(server: FtpServer, line: Relay) -> Kept:
    """Let a process put the film, and kill it when half has passed; return what its note leaves to the next one."""
    asked = {"url": server.url(NAME, HOST), "user": server.user, "password": PASSWORD, "kind": "ftp", "tls": server.tls}
    given = {"order": asked, "size": SIZE, "ca_file": str(server.cert)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.upload_child", stdin=-1, stdout=-1, cwd=Path(__file__).parents[3]
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(given).encode() + b"\n")
    told = Kept()
    while line.up < SIZE // 2:
        word, _, rest = (await child.stdout.readline()).decode().strip().partition(" ")
        assert word in {"keep", "sent"}, word
        if word == "keep":
            told.resume = rest
    child.send_signal(signal.SIGKILL)
    await child.wait()
    assert told.resume
    return told


@pytest.mark.parametrize(("kind", "tls"), [("vsftpd", "explicit"), ("proftpd", "explicit")])
async def test_a_full_disk_is_a_reason_to_try_again(kind: str, tls: str, tmp_path: Path) -> None:
    file, told = MemoryFile(film(4 * MIB)), Kept()
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path, "16m"))
        (disk.root / "files").mkdir()
        server = stack.enter_context(running(kind, tls, tmp_path, disk.root / "files"))
        disk.fill(leave=2 * MIB)
        with pytest.raises(DestinationFailed, match=r"the server said: [45]") as failed:
            await target(server, "localhost").put(file, told)
        assert not failed.value.final, failed.value
        assert not (server.root / NAME).exists()
        disk.clear()
        await target(server, "localhost").put(file, told)
        assert (server.root / NAME).read_bytes() == file.data


@pytest.mark.parametrize(("kind", "tls"), [("vsftpd", ""), ("proftpd", "explicit")])
async def test_a_slow_server_is_seen_to_take_bytes(kind: str, tls: str, tmp_path: Path) -> None:
    file, told = MemoryFile(film(4 * MIB)), Kept()
    with running(kind, tls, tmp_path) as server:
        async with relay(relayed(server)) as line:
            line.bytes_per_s = 10_000
            putting = asyncio.create_task(target(server).put(file, told))
            await comes(lambda: len(set(told.totals)) > 2)
            assert max(told.totals) < file.size // 2  # taken by the server, not by this machine's buffers
            putting.cancel()
            await asyncio.wait({putting})
        assert putting.cancelled()
        await target(server, "localhost").discard(told)
        assert not parts(server)
        assert not (server.root / NAME).exists()


@pytest.mark.skipif(bool(missing("vsftpd")), reason=missing("vsftpd"))
async def test_a_delivery_whose_end_was_not_recorded_sends_nothing_again(tmp_path: Path) -> None:
    file, told = MemoryFile(os.urandom(2 * MIB)), Kept()
    with running("vsftpd", "explicit", tmp_path) as server:
        await target(server, "localhost").put(file, told)
        async with relay(relayed(server)) as line:
            await target(server).put(file, told)
            assert line.up < MIB
        assert (server.root / NAME).read_bytes() == file.data


@pytest.mark.skipif(bool(missing("vsftpd")), reason=missing("vsftpd"))
async def test_two_exporters_at_once_deliver_one_whole_file(tmp_path: Path) -> None:
    file, first, second = MemoryFile(film(SIZE)), Kept(), Kept()
    with running("vsftpd", "", tmp_path) as server:
        async with relay(relayed(server)) as line:
            line.bytes_per_s = 4 * SIZE
            one = asyncio.create_task(target(server).put(file, first))
            await comes(lambda: line.up > SIZE // 4)
            second.resume = first.resume
            two = asyncio.create_task(target(server, "localhost").put(file, second))
            done = await asyncio.gather(one, two, return_exceptions=True)
        assert str in {type(result) for result in done}
        assert all(isinstance(result, str) or not result.final for result in done), done  # type: ignore[union-attr]
        wait_until(lambda: (server.root / NAME).read_bytes() == file.data)
