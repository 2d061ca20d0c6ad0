"""Uploads of one file beside others' clients: `python -m tests.bench.bench_upload [--mb 500] [--only ftps]`.

Each case is a server on loopback, our put, and the client that people use; they take turns. Bounds (MB/s of ours
in percent of theirs): FTPS beside lftp 90, SFTP beside OpenSSH's sftp 90. A case is a line in CASES.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.exporter.destinations.base import Destination
from services.exporter.destinations.ftp import FtpMaker
from services.exporter.destinations.sftp import SftpMaker
from tests.bench.common import MIB, machine, median, table
from tests.support.ftp_servers import PASSWORD, ftp_server
from tests.support.peers import environment, missing, program
from tests.support.sftp_servers import sftp_server
from tests.support.uploads import ALLOWED, Kept, login_order, make_certificate

PIECE = 256 << 10


@dataclass
class DiskFile:
    """A file that is read in threads, as the store's are."""

    path: Path
    sha256: str
    content_type: str = "video/mp4"

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    async def read(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    async def chunks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        with self.path.open("rb") as file:
            file.seek(offset)
            while pieces := await asyncio.to_thread(lambda: [file.read(PIECE) for _ in range(4)]):
                for piece in pieces:
                    if not piece:
                        return
                    yield piece


@dataclass
class Rivals:
    """Our destination, and the command that does the same."""

    ours: Callable[[], Destination]
    theirs: list[str]
    environment: dict[str, str]


@contextmanager
def ftps(folder: Path, film: Path, kind: str) -> Iterator[Rivals]:
    with ftp_server(kind, folder, make_certificate(folder / "certificate")) as server:
        given = login_order(server.url("ours.mp4"), server.user, PASSWORD, tls="explicit")
        script = (
            f"set ssl:ca-file {server.cert}; set ftp:ssl-force true; set ftp:ssl-protect-data true; "
            f"open -u {server.user},{PASSWORD} ftp://localhost:{server.port}; put {film} -o theirs.mp4"
        )
        command = [program("lftp"), "--norc", "-c", script]
        yield Rivals(lambda: FtpMaker(ALLOWED, str(server.cert))(given), command, environment("lftp"))


@contextmanager
def sftp(folder: Path, film: Path) -> Iterator[Rivals]:
    with sftp_server("sshd", folder) as server:
        given = login_order(server.url("ours.mp4"), server.user, server.secret, kind="sftp", host_key=server.host_key)
        (folder / "known").write_text(f"[localhost]:{server.port} {server.host_key}\n")
        # -f: until the file is on the server's disk, as ours
        (folder / "batch").write_text(f"put -f {film} {server.root}/theirs.mp4\n")
        command = ["sftp", "-q", "-F", "none", "-i", str(server.folder / "client"), "-P", str(server.port)]
        command += [
            "-o",
            f"UserKnownHostsFile={folder / 'known'}",
            "-b",
            str(folder / "batch"),
            f"{server.user}@localhost",
        ]
        yield Rivals(lambda: SftpMaker(ALLOWED)(given), command, dict(os.environ))


# Name, rival, programs that must be there, and what starts the server.
CASES: list[tuple[str, str, tuple[str, ...], Callable[[Path, Path], AbstractContextManager[Rivals]]]] = [
    ("ftps to vsftpd", "lftp", ("vsftpd", "lftp"), lambda folder, film: ftps(folder, film, "vsftpd")),
    ("ftps to ProFTPD", "lftp", ("proftpd", "lftp"), lambda folder, film: ftps(folder, film, "proftpd")),
    ("sftp to sshd", "sftp", ("sshd", "sftp"), sftp),
]


def measured(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def compare(rivals: Rivals, film: Path, rounds: int) -> tuple[float, float]:
    """Return the median MB/s of ours and theirs, which take turns."""
    ours, theirs, known = [], [], hashlib.sha256(film.read_bytes()).hexdigest()

    def put() -> None:
        asyncio.run(rivals.ours().put(DiskFile(film, known), Kept()))

    def call() -> None:
        subprocess.run(rivals.theirs, env=rivals.environment, check=True, stdout=subprocess.DEVNULL)

    for _ in range(rounds):
        ours.append(measured(put))
        theirs.append(measured(call))
    megabytes = film.stat().st_size / 1e6
    return megabytes / median(ours), megabytes / median(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    given = parser.parse_args()
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)
        film = folder / "film.mp4"
        with film.open("wb") as file:
            block = os.urandom(MIB)
            for _ in range(given.mb * 1_000_000 // MIB):
                file.write(block)
        for number, (case, rival, programs, start) in enumerate(CASES):
            if given.only not in case or missing(*programs):
                continue
            (folder / str(number)).mkdir()
            with start(folder / str(number), film) as rivals:
                ours, theirs = compare(rivals, film, given.rounds)
            rows.append([case, rival, ours, theirs, f"{ours / theirs:.0%}"])
    print(machine())
    print(table(["upload", "beside", "ours MB/s", "theirs MB/s", "ours/theirs"], rows))


if __name__ == "__main__":
    main()
