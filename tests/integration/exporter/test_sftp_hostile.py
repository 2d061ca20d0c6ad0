"""SFTP servers that never answer, ask for huge requests, or take no file up where it was left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from services.exporter.destinations import sftp
from services.exporter.destinations.sftp import SftpDestination, SftpMaker
from services.exporter.destinations.ssh_connection import Pins
from shared.errors import DestinationFailed
from tests.support.uploads import LOOPBACK, MIB, Kept, MemoryFile, credential, noise, order

FILM = MemoryFile(noise(6 * MIB))


class Anyone(asyncssh.SSHServer):
    """Takes every login."""

    def begin_auth(self, username: str) -> bool:
        return False


@contextlib.asynccontextmanager
async def serving(root: Path, kind: type[asyncssh.SFTPServer]) -> AsyncIterator[SftpDestination]:
    """Serve a folder; yield a destination in it."""

    def made(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return kind(channel, chroot=str(root).encode())

    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=Anyone, server_host_keys=[key], sftp_factory=made)
    try:
        given = credential("sftp", "me", "mine", host_key=key.export_public_key().decode())
        yield SftpMaker(LOOPBACK)(order(f"sftp://127.0.0.1:{server.get_port()}/x.mp4", given))
    finally:
        server.close()


async def test_a_server_that_never_writes_down_what_it_has_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "PATIENT_S", 0.5)

    class Silent(asyncssh.SFTPServer):
        async def fsync(self, file_obj: object) -> None:
            await asyncio.Event().wait()

    async with serving(tmp_path, Silent) as to, asyncio.timeout(20):
        with pytest.raises(DestinationFailed, match="did not answer in time") as caught:
            await to.put(MemoryFile(b"film"), Kept())
    assert not caught.value.final


async def test_requests_are_not_as_large_as_a_server_would_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is gathered in memory, and tells nothing before its end."""
    monkeypatch.setattr(asyncssh.sftp, "MAX_SFTP_WRITE_LEN", 1 << 40)  # what the server says that it takes
    sizes: list[int] = []

    class Greedy(asyncssh.SFTPServer):
        def write(self, file_obj: object, offset: int, data: bytes) -> int:
            sizes.append(len(data))
            return super().write(file_obj, offset, data)  # type: ignore[return-value]

    async with serving(tmp_path, Greedy) as to:
        await to.put(FILM, Kept())
    assert max(sizes) <= 256 << 10
    assert (tmp_path / "x.mp4").read_bytes() == FILM.data


@pytest.mark.parametrize("refuses", ["open", "write"])
async def test_a_server_that_takes_no_file_up_again_gets_it_anew(tmp_path: Path, refuses: str) -> None:
    """As those do that keep files in object stores."""

    class Once(asyncssh.SFTPServer):
        resumes = False

        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            self.resumes = bool(pflags & asyncssh.FXF_WRITE and not pflags & asyncssh.FXF_TRUNC)
            if self.resumes and refuses == "open":
                raise asyncssh.SFTPFailure("no appending")
            return super().open(path, pflags, attrs)

        def write(self, file_obj: object, offset: int, data: bytes) -> int:
            if self.resumes:
                raise asyncssh.SFTPOpUnsupported("no random writes")
            return super().write(file_obj, offset, data)  # type: ignore[return-value]

    part = tmp_path / f".reelay-{'e' * 32}-segment.part"
    part.write_bytes(FILM.data[: 5 * MIB])
    async with serving(tmp_path, Once) as to:
        await to.put(FILM, Kept(resume=part.name))
    assert (tmp_path / "x.mp4").read_bytes() == FILM.data
    assert not part.exists()


@pytest.mark.parametrize("posix", [True, False])
async def test_what_another_exporter_has_just_renamed_is_not_replaced_by_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, posix: bool
) -> None:
    handler = asyncssh.sftp.SFTPServerHandler
    kept = [row for row in handler._extensions if posix or not row[0].startswith(b"posix-rename")]
    monkeypatch.setattr(handler, "_extensions", kept)

    class Raced(asyncssh.SFTPServer):
        def rename(self, oldpath: bytes, newpath: bytes) -> None:
            self.outrun(oldpath, newpath)
            super().rename(oldpath, newpath)

        def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
            self.outrun(oldpath, newpath)
            super().posix_rename(oldpath, newpath)

        def outrun(self, oldpath: bytes, newpath: bytes) -> None:
            with contextlib.suppress(OSError):
                super().posix_rename(oldpath, newpath)

    async with serving(tmp_path, Raced) as to:
        told = Kept()
        with pytest.raises(DestinationFailed, match="rename: the server said") as caught:
            await to.put(FILM, told)
        assert not caught.value.final
        assert (tmp_path / "x.mp4").read_bytes() == FILM.data
        FILM.read_from.clear()
        await to.put(FILM, told)
    assert FILM.read_from == []


@pytest.mark.parametrize("mark", ["# ", "@revoked * ", "  #"])
def test_a_key_in_a_comment_or_with_a_mark_is_not_pinned(mark: str) -> None:
    key, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    rows = f"{mark}{other.export_public_key().decode()}", f"{mark}{other.get_fingerprint()}"
    pins = Pins.of("\n".join([*rows, f"files.example.com {key.export_public_key().decode()}"]))
    assert pins.accept(key.convert_to_public())
    assert not pins.accept(other.convert_to_public())
    with pytest.raises(DestinationFailed, match="neither a public key"):
        Pins.of("\n".join(rows))
