"""Uploads of one file to S3 servers beside boto3's own `upload_file`: `python -m tests.bench.upload_s3 [--mb 500]`.

Both run in this process, take turns, and send the same 8 MiB parts, four at once. Each of ours is checked by MD5, and
the object's length is asked for afterwards; the file is read as the exporter reads its store. Bound: 95 %.
`measured_rows` is for bench_upload.py.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
from boto3.s3.transfer import TransferConfig

from services.exporter.destinations.s3 import S3Maker
from services.exporter.destinations.s3_sender import PARALLEL
from services.exporter.destinations.s3_upload import PART
from tests.bench.common import machine, table
from tests.support.uploads import LOOPBACK, MIB, Kept, noise, order
from tests.support.web_servers import Bucket, rclone_s3, weed_s3

HEAD = ("server", "MB", "ours MB/s", "boto3 MB/s", "ours in % of boto3's")
THEIRS = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=PARALLEL)
SERVERS = {"SeaweedFS": weed_s3, "rclone serve s3": rclone_s3}


@dataclass
class DiskFile:
    """A file that is read in threads, as the exporter reads its store."""

    path: Path
    sha256: str
    content_type: str = "video/mp4"

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    async def chunks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        for at in range(offset, self.size, MIB):
            yield await self.read(at, MIB)


def seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def compare(bucket: Bucket, film: Path, rounds: int) -> tuple[float, float]:
    """Return the median MB/s of ours and of boto3's; the first of each is not counted."""
    file = DiskFile(film, hashlib.sha256(film.read_bytes()).hexdigest())
    maker = S3Maker.of(LOOPBACK, httpx.create_ssl_context())
    ours, theirs = [], []
    for _ in range(rounds + 1):
        to = maker(order(f"s3://{bucket.name}/ours.mp4", bucket.credentials()))
        ours.append(seconds(lambda: asyncio.run(to.put(file, Kept()))))  # noqa: B023  run at once
        theirs.append(seconds(lambda: bucket.client.upload_file(str(film), bucket.name, "theirs.mp4", Config=THEIRS)))
    size = file.size / 1e6
    return size / median(ours[1:]), size / median(theirs[1:])


def measured_rows(mb: int, rounds: int) -> Iterator[tuple[str, int, float, float, float]]:
    """Yield a row a server: its name, MB, ours and theirs in MB/s, and ours in percent of theirs."""
    with tempfile.TemporaryDirectory(prefix="upload-") as name:
        film = Path(name) / "film.mp4"
        with film.open("wb") as file:
            for number in range(max(1, mb * 1_000_000 // (50 * MIB))):
                file.write(noise(50 * MIB, number))
        for server, run in SERVERS.items():
            folder = Path(name) / server.replace(" ", "-")
            folder.mkdir()
            with run(folder) as bucket:
                ours, theirs = compare(bucket, film, rounds)
            yield server, film.stat().st_size // 1_000_000, ours, theirs, ours / theirs * 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mb", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(machine())
    print(table(HEAD, list(measured_rows(given.mb, given.rounds))))


if __name__ == "__main__":
    main()
