"""An exporter's put in a process of its own, to be killed: reads one JSON line, tells each note and each total."""

from __future__ import annotations

import asyncio
import json
import sys

from services.exporter.destinations.base import Maker
from services.exporter.destinations.ftp import FtpMaker
from services.exporter.destinations.sftp import SftpMaker
from tests.support.uploads import ALLOWED, Kept, MemoryFile, login_order


class Loud(Kept):
    """Tells its parent."""

    async def sent(self, total: int) -> None:
        print(f"sent {total}", flush=True)

    async def keep(self, resume: str) -> None:
        print(f"keep {resume}", flush=True)


def film(size: int) -> bytes:
    """Return the bytes that are delivered: each 4 bytes tell where they are."""
    return b"".join(number.to_bytes(4) for number in range(size // 4))


def main() -> None:
    given = json.loads(sys.stdin.readline())
    maker: Maker = FtpMaker(ALLOWED, given["ca_file"]) if given["order"]["kind"] == "ftp" else SftpMaker(ALLOWED)
    put = maker(login_order(**given["order"])).put(MemoryFile(film(given["size"])), Loud())
    print("done", asyncio.run(put), flush=True)


if __name__ == "__main__":
    main()
