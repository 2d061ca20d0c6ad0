"""Files to real SFTP servers, OpenSSH's sshd and rclone: names, keys, faults, and an exporter that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.exporter.destinations.sftp import SftpDestination, SftpMaker
from shared.errors import DestinationFailed
from tests.support.disk import MIB, small_disk
from tests.support.peers import missing
from tests.support.relay import HOST, relay
from tests.support.sftp_servers import SftpServer, make_key, sftp_server
from tests.support.upload_child import film
from tests.support.uploads import ALLOWED, Kept, MemoryFile, login_order
from tests.support.waiting import comes

KINDS = ["sshd", "rclone"]
NAMES = [("a%20b/[1]/%C3%BC%20x.mp4", "a b/[1]/ü x.mp4", 3_000_001), ("deep/er/", "deep/er/clip.mp4", 65_537),
         ("-100%25.mp4", "-100%.mp4", 0)]  # fmt: skip
SIZE = 4 * MIB
WINDOW = 4 * MIB
"""What may have been under way, and is sent again."""


@dataclass
class Servers:
    """Both kinds, each started once."""

    folder: Path
    stack: ExitStack
    running: dict[str, SftpServer]

    def get(self, kind: str) -> SftpServer:
        if missing(kind):
            pytest.skip(missing(kind))
        if kind not in self.running:
            self.running[kind] = self.stack.enter_context(sftp_server(kind, self.folder))
        return self.running[kind]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("sftp"), stack, {})


def at(
    server: SftpServer, path: str, *, host: str = "localhost", secret: str | None = None, host_key: str | None = None,
    accuracy: str = "exact", user: str | None = None,
) -> SftpDestination:  # fmt: skip
    given = login_order(
        server.url(path, host), server.user if user is None else user, server.secret if secret is None else secret,
        kind="sftp", accuracy=accuracy, host_key=server.host_key if host_key is None else host_key,
    )  # fmt: skip
    return SftpMaker(ALLOWED)(given)


def parts(server: SftpServer) -> list[Path]:
    return [path for path in server.root.rglob(".reelay*") if path.is_file()]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_arrives_under_its_name_and_nothing_else_does(servers: Servers, kind: str) -> None:
    server = servers.get(kind)
    for path, name, size in NAMES:
        file, told = MemoryFile(os.urandom(size), known=False), Kept()
        target = at(server, path)
        assert not await target.holds(file)
        location = await target.put(file, told)
        assert (server.root / name).read_bytes() == file.data
        assert location.startswith(f"sftp://localhost:{server.port}/")
        assert told.totals[-1] == file.size
        assert told.totals == sorted(told.totals)
        assert await target.holds(file)
        assert not await target.holds(MemoryFile(b"x" + file.data[1:] + b"y", known=False))
    assert not parts(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_exact_file_replaces_the_fast_one(servers: Servers, kind: str) -> None:
    server = servers.get(kind)
    fast, exact = MemoryFile(os.urandom(300_000), known=False), MemoryFile(os.urandom(200_000), known=False)
    await at(server, "both/clip.mp4", accuracy="fast").put(fast, Kept())
    await at(server, "both/clip.mp4").put(exact, Kept())
    await at(server, "both/clip.mp4").put(exact, Kept())  # delivered twice
    assert [path.name for path in (server.root / "both").iterdir()] == ["clip.mp4"]
    assert (server.root / "both/clip.mp4").read_bytes() == exact.data


async def test_the_target_may_vanish_between_the_fast_and_the_exact_file(servers: Servers) -> None:
    server = servers.get("sshd")
    await at(server, "gone/clip.mp4", accuracy="fast").put(MemoryFile(b"fast", known=False), Kept())
    (server.root / "gone/clip.mp4").unlink()
    (server.root / "gone").rmdir()
    await at(server, "gone/clip.mp4").put(MemoryFile(b"exact one", known=False), Kept())
    assert (server.root / "gone/clip.mp4").read_bytes() == b"exact one"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_test_of_credentials_leaves_nothing_behind(servers: Servers, kind: str) -> None:
    server = servers.get(kind)
    before = sorted(server.root.rglob("*"))
    await at(server, "new/folders/clip.mp4").test()
    assert sorted(server.root.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["{key}", "host.example {key}\n", "{print}", "256 {print} comment (ED25519)", "{rsa}"])
async def test_a_host_key_is_pinned_in_every_form_that_users_have_it_in(servers: Servers, kind: str, form: str) -> None:
    server = servers.get(kind)
    if form == "{rsa}" and kind == "rclone":
        form = "{key}"  # it has one key alone
    rsa = (server.folder / "rsa.pub").read_text()
    await at(server, "pin.mp4", host_key=form.format(key=server.host_key, print=server.fingerprint, rsa=rsa)).test()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_known_gets_no_secret(servers: Servers, kind: str, tmp_path: Path) -> None:
    server = servers.get(kind)
    other, fingerprint = make_key(tmp_path, "other", "ed25519")
    rows = [("", "no host_key"), (other, "another server"), (fingerprint, "another server")]
    for host_key, said in rows:
        target = at(server, "x.mp4", host_key=host_key)
        for attempt in (target.test(), target.put(MemoryFile(b"x", known=False), Kept())):
            with pytest.raises(DestinationFailed, match=said) as failed:
                await attempt
            assert failed.value.final
            assert server.fingerprint in str(failed.value)  # so that the user can pin it
    with pytest.raises(DestinationFailed, match="neither a public key"):
        at(server, "x.mp4", host_key="MD5:00:11")


@pytest.mark.parametrize(
    ("kind", "user", "secret", "said"),
    [
        ("rclone", None, "wrong-word", "refused"), ("rclone", "nobody-known", None, "refused"),
        ("rclone", "", None, "needs a user"), ("sshd", None, "wrong-word", "refused"),
        ("sshd", None, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "cannot be read"),
    ],
)  # fmt: skip
async def test_a_refused_login_is_final(
    servers: Servers, kind: str, user: str | None, secret: str | None, said: str
) -> None:
    with pytest.raises(DestinationFailed, match=said) as failed:
        await at(servers.get(kind), "x.mp4", user=user, secret=secret).put(MemoryFile(b"x", known=False), Kept())
    assert failed.value.final
    assert "wrong-word" not in str(failed.value)


async def test_neither_keys_nor_settings_of_this_machine_are_used(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.get("sshd")
    own = tmp_path / ".ssh"
    own.mkdir()
    (own / "id_ed25519").write_text(server.secret)
    (own / "config").write_text(f"Host *\n  IdentityFile {own}/id_ed25519\n")
    (own / "known_hosts").write_text(f"[localhost]:{server.port} {server.host_key}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DestinationFailed, match="refused"):
        await at(server, "x.mp4", secret="a-word").test()
    with pytest.raises(DestinationFailed, match="no host_key"):
        await at(server, "x.mp4", host_key="").test()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_is_cut_at_half_goes_on_from_there(kind: str, servers: Servers) -> None:
    server, file, told = servers.get(kind), MemoryFile(film(3 * SIZE), known=False), Kept()
    async with relay([server.port]) as line:
        line.cut_at = file.size * 3 // 4
        with pytest.raises(DestinationFailed) as failed:
            await at(server, "cut/clip.mp4", host=HOST).put(file, told)
        assert not failed.value.final
        assert not (server.root / "cut/clip.mp4").exists()
        line.cut_at, line.up = None, 0
        written = sum(path.stat().st_size for path in parts(server))  # a busy server has not written all that passed
        await at(server, "cut/clip.mp4", host=HOST).put(file, told)
        if kind == "sshd":
            assert file.read_from[-1] >= written - WINDOW > 0
            assert line.up < file.size - file.read_from[-1] + MIB
    assert (server.root / "cut/clip.mp4").read_bytes() == file.data
    assert not parts(server)


async def test_a_killed_exporter_leaves_what_its_successor_goes_on_with(servers: Servers) -> None:
    server, file, told = servers.get("sshd"), MemoryFile(film(3 * SIZE), known=False), Kept()
    asked = {"url": server.url("killed/clip.mp4", HOST), "user": server.user, "password": server.secret, "kind": "sftp",
             "host_key": server.host_key}  # fmt: skip
    async with relay([server.port]) as line:
        line.bytes_per_s = 3 * SIZE
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.upload_child", stdin=-1, stdout=-1, cwd=Path(__file__).parents[3]
        )
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"order": asked, "size": file.size}).encode() + b"\n")
        while line.up < file.size // 2:
            word, _, rest = (await child.stdout.readline()).decode().strip().partition(" ")
            assert word in {"keep", "sent"}, word
            told.resume = rest if word == "keep" else told.resume
        child.send_signal(signal.SIGKILL)
        await child.wait()
        line.bytes_per_s = None
        written = sum(path.stat().st_size for path in parts(server))  # a busy server has not written all that passed
        await at(server, "killed/clip.mp4", host=HOST).put(file, told)
        assert file.read_from[-1] >= written - WINDOW > 0
    assert (server.root / "killed/clip.mp4").read_bytes() == file.data
    assert not parts(server)


@pytest.mark.skipif(bool(missing("sshd")), reason=missing("sshd"))
async def test_a_full_disk_is_a_reason_to_try_again(tmp_path: Path) -> None:
    file, told = MemoryFile(film(4 * MIB), known=False), Kept()
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path, "16m"))
        server = stack.enter_context(sftp_server("sshd", tmp_path, root=disk.root / "files"))
        disk.fill(leave=2 * MIB)
        with pytest.raises(DestinationFailed, match="upload: the server said") as failed:
            await at(server, "clip.mp4").put(file, told)
        assert not failed.value.final
        disk.clear()
        await at(server, "clip.mp4").put(file, told)
        assert (server.root / "clip.mp4").read_bytes() == file.data


async def test_a_slow_server_is_seen_to_take_bytes(servers: Servers) -> None:
    server, file, told = servers.get("sshd"), MemoryFile(film(4 * MIB), known=False), Kept()
    async with relay([server.port]) as line:
        putting = asyncio.create_task(at(server, "slow/clip.mp4", host=HOST).put(file, told))
        await comes(lambda: told.totals)
        line.bytes_per_s = 100_000
        await comes(lambda: len(set(told.totals)) > 2)
        assert max(told.totals) < file.size
        putting.cancel()
        await asyncio.wait({putting})
    assert putting.cancelled()
    await at(server, "slow/clip.mp4").discard(told)
    assert not parts(server)


async def test_what_may_not_be_written_is_final(servers: Servers) -> None:
    server = servers.get("sshd")
    (server.root / "file").write_bytes(b"no folder")
    with pytest.raises(DestinationFailed, match="upload: the server said: No such file"):
        await at(server, "file/clip.mp4").put(MemoryFile(b"x", known=False), Kept())
    (server.root / "taken.mp4").mkdir()
    with pytest.raises(DestinationFailed, match="rename"):
        await at(server, "taken.mp4").put(MemoryFile(b"x", known=False), Kept())


async def test_a_server_that_talks_for_ever_is_left() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"welcome\r\n" * 1000)
                await writer.drain()
        except OSError:
            writer.close()

    chatty = await asyncio.start_server(talk, "127.0.0.1", 0)
    given = login_order(
        f"sftp://localhost:{chatty.sockets[0].getsockname()[1]}/x.mp4",
        "editor",
        "word",
        kind="sftp",
        host_key="SHA256:" + "A" * 43,
    )
    async with asyncio.timeout(20):
        with pytest.raises(DestinationFailed):
            await SftpMaker(ALLOWED)(given).put(MemoryFile(b"x", known=False), Kept())
    chatty.close()
