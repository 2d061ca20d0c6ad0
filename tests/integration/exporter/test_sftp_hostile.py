"""An SFTP server that never answers once it has all bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from services.exporter.destinations import sftp
from services.exporter.destinations.sftp import SftpMaker
from shared.errors import DestinationFailed
from tests.support.uploads import LOOPBACK, Kept, MemoryFile, credential, order


class Anyone(asyncssh.SSHServer):
    """Takes every login."""

    def begin_auth(self, username: str) -> bool:
        return False


async def test_a_server_that_never_writes_down_what_it_has_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "PATIENT_S", 0.5)

    class Silent(asyncssh.SFTPServer):
        def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
            super().__init__(channel, chroot=str(tmp_path).encode())

        async def fsync(self, file_obj: object) -> None:
            await asyncio.Event().wait()

    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Anyone, server_host_keys=[key], sftp_factory=Silent
    )  # fmt: skip
    try:
        given = credential("sftp", "me", "mine", host_key=key.export_public_key().decode())
        to = SftpMaker(LOOPBACK)(order(f"sftp://127.0.0.1:{server.get_port()}/x.mp4", given))
        async with asyncio.timeout(20):
            with pytest.raises(DestinationFailed, match="did not answer in time") as caught:
                await to.put(MemoryFile(b"film"), Kept())
        assert not caught.value.final
    finally:
        server.close()
