"""Files to real FTP servers: vsftpd, ProFTPD and rclone, in clear, with AUTH TLS, with implicit TLS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.exporter.destinations.ftp import FtpDestination, FtpMaker
from shared.errors import DestinationFailed
from tests.support.ftp_servers import PASSWORD, FtpServer, ftp_server
from tests.support.peers import missing
from tests.support.uploads import ALLOWED, Kept, MemoryFile, login_order, make_certificate

CASES = [
    ("vsftpd", ""), ("vsftpd", "explicit"), ("vsftpd", "implicit"), ("proftpd", ""), ("proftpd", "explicit"),
    ("proftpd", "implicit"), ("rclone", ""),
]  # fmt: skip
NAMES = [("a%20b/[1]/%C3%BC%20x.mp4", "a b/[1]/ü x.mp4", 3_000_001), ("deep/er/", "deep/er/clip.mp4", 65_537),
         ("-100%25.mp4", "-100%.mp4", 0)]  # fmt: skip


@dataclass
class Servers:
    """All kinds, each started once."""

    folder: Path
    stack: ExitStack
    running: dict[tuple[str, str], FtpServer]

    def get(self, kind: str, tls: str) -> FtpServer:
        if missing(kind):
            pytest.skip(missing(kind))
        if (kind, tls) not in self.running:
            made = self.folder / "key.pem", self.folder / "cert.pem"
            self.running[kind, tls] = self.stack.enter_context(ftp_server(kind, self.folder, made, tls=tls))
        return self.running[kind, tls]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("ftp")
        make_certificate(folder)
        yield Servers(folder, stack, {})


def at(
    server: FtpServer, path: str, *, password: str = PASSWORD, accuracy: str = "exact", **record: str
) -> FtpDestination:
    tls = record.pop("tls", server.tls)
    given = login_order(server.url(path), server.user, password, tls=tls, accuracy=accuracy, **record)
    return FtpMaker(ALLOWED, str(server.cert))(given)


@pytest.mark.parametrize(("kind", "tls"), CASES)
async def test_a_file_arrives_under_its_name_and_nothing_else_does(servers: Servers, kind: str, tls: str) -> None:
    server = servers.get(kind, tls)
    for path, name, size in NAMES:
        file, told = MemoryFile(os.urandom(size), known=False), Kept()
        target = at(server, path)
        assert not await target.holds(file)
        location = await target.put(file, told)
        assert (server.root / name).read_bytes() == file.data
        assert (location.startswith(server.url("")), PASSWORD in location) == (True, False)
        assert told.totals[-1] == file.size
        assert await target.holds(file)
        assert not await target.holds(MemoryFile(b"x" + file.data[1:] + b"y", known=False))
    assert not [path for path in server.root.rglob("*") if path.name.startswith(".reelay")]


@pytest.mark.parametrize(("kind", "tls"), CASES)
async def test_the_exact_file_replaces_the_fast_one(servers: Servers, kind: str, tls: str) -> None:
    server = servers.get(kind, tls)
    fast, exact = MemoryFile(os.urandom(300_000)), MemoryFile(os.urandom(200_000))
    await at(server, "both/clip.mp4", accuracy="fast").put(fast, Kept())
    assert await at(server, "both/clip.mp4", accuracy="fast").holds(fast)
    await at(server, "both/clip.mp4").put(exact, Kept())
    await at(server, "both/clip.mp4").put(exact, Kept())  # delivered twice
    assert [path.name for path in (server.root / "both").iterdir()] == ["clip.mp4"]
    assert (server.root / "both/clip.mp4").read_bytes() == exact.data


@pytest.mark.parametrize(("kind", "tls"), [("vsftpd", "explicit"), ("proftpd", "explicit")])
async def test_the_target_may_vanish_between_the_fast_and_the_exact_file(servers: Servers, kind: str, tls: str) -> None:
    server, fast, exact = (
        servers.get(kind, tls),
        MemoryFile(b"fast", known=False),
        MemoryFile(b"exact one", known=False),
    )
    await at(server, "gone/clip.mp4", accuracy="fast").put(fast, Kept())
    (server.root / "gone/clip.mp4").unlink()
    (server.root / "gone").rmdir()
    await at(server, "gone/clip.mp4").put(exact, Kept())
    assert (server.root / "gone/clip.mp4").read_bytes() == b"exact one"


@pytest.mark.parametrize(("kind", "tls"), CASES)
async def test_a_test_of_credentials_leaves_nothing_behind(servers: Servers, kind: str, tls: str) -> None:
    server = servers.get(kind, tls)
    before = sorted(server.root.rglob("*"))
    await at(server, "new/folders/clip.mp4").test()
    assert sorted(server.root.rglob("*")) == before


REFUSED = [
    ("a wrong password", {"password": "wrong-word"}, True, "login: the server said: 530"),
    ("no TLS where the server asks for it", {"tls": ""}, True, "the server said: 5"),
    ("implicit TLS at an explicit port", {"tls": "implicit"}, False, "TLS"),
]


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
@pytest.mark.parametrize(("_name", "given", "final", "said"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_what_the_server_refuses_is_told(
    servers: Servers, kind: str, _name: str, given: dict[str, str], final: bool, said: str
) -> None:
    target = at(servers.get(kind, "explicit"), "clip.mp4", **given)
    for attempt in (
        target.test(),
        target.put(MemoryFile(b"film", known=False), Kept()),
        target.holds(MemoryFile(b"film", known=False)),
    ):
        with pytest.raises(DestinationFailed, match=said) as failed:
            await attempt
        assert failed.value.final is final
        assert "wrong-word" not in str(failed.value)


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
async def test_only_a_certificate_that_is_trusted_and_names_the_host_is_taken(
    servers: Servers, kind: str, tmp_path: Path
) -> None:
    server, file = servers.get(kind, "explicit"), MemoryFile(b"film", known=False)
    given = login_order(server.url("tls.mp4"), server.user, PASSWORD, tls="explicit")
    with pytest.raises(DestinationFailed, match="certificate is not accepted") as failed:
        await FtpMaker(ALLOWED)(given).put(file, Kept())
    assert failed.value.final
    other = make_certificate(tmp_path, "elsewhere.example")
    with ftp_server(kind, tmp_path, other) as wrong:
        given = login_order(wrong.url("tls.mp4"), wrong.user, PASSWORD, tls="explicit")
        with pytest.raises(DestinationFailed, match="certificate is not accepted"):
            await FtpMaker(ALLOWED, str(other[1]))(given).put(file, Kept())
        unverified = login_order(wrong.url("tls.mp4"), wrong.user, PASSWORD, tls="unverified")
        await FtpMaker(ALLOWED)(unverified).put(file, Kept())
        assert (wrong.root / "tls.mp4").read_bytes() == b"film"


@pytest.mark.skipif(bool(missing("proftpd")), reason=missing("proftpd"))
async def test_where_nothing_may_be_written_over_the_old_file_is_deleted_first(
    servers: Servers, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "certificate")
    with ftp_server("proftpd", tmp_path, certificate, more="#no-overwrite") as server:
        fast, exact = MemoryFile(os.urandom(100_000), known=False), MemoryFile(os.urandom(150_000), known=False)
        await at(server, "clip.mp4", accuracy="fast").put(fast, Kept())
        await at(server, "clip.mp4").put(exact, Kept())
        assert (server.root / "clip.mp4").read_bytes() == exact.data
        (server.root / "clip.mp4").unlink()
        half = server.root / f".reelay-{login_order('ftp://a/b').export}-exact.part"
        half.write_bytes(exact.data[:70_000])  # and no resuming either: it begins anew
        await at(server, "clip.mp4").put(exact, Kept(resume=half.name))
        assert (server.root / "clip.mp4").read_bytes() == exact.data


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.skipif(bool(missing("proftpd")), reason=missing("proftpd"))
async def test_the_servers_checksum_is_compared(servers: Servers, known: bool) -> None:
    server, data, name = servers.get("proftpd", "explicit"), os.urandom(400_000), f"sum-{known}.mp4"
    file = MemoryFile(data, known=known)
    half = server.root / f".reelay-{login_order('ftp://a/b').export}-exact.part"
    half.write_bytes(data[:100_000] + b"damage" + data[100_006:200_000])
    with pytest.raises(DestinationFailed, match="has another sha256") as failed:
        await at(server, name).put(file, told := Kept(resume=half.name))
    assert (failed.value.final, (server.root / name).exists()) == (False, False)
    await at(server, name).put(file, told)
    assert (server.root / name).read_bytes() == data
