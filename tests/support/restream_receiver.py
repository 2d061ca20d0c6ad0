"""Receives what restreams send, with our own RTMP server, and reads the numbers of the pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support import framecode
from tests.support.media_flv import VIDEO, split
from tests.support.rtmp_server import PATIENT, Ingest, Stream, record_flv, rtmp_server
from tests.support.waiting import wait_until

FEW = 4
"""How many pictures a connection's end within B-frames may disturb."""


@dataclass
class Receiver:
    """A server, and what was published to it by key; a publication is one connection."""

    port: int
    ingest: Ingest

    def url(self, key: str) -> str:
        return f"rtmp://127.0.0.1:{self.port}/live/{key}"

    def publications(self, key: str) -> list[Stream]:
        return [stream for stream in self.ingest.streams if stream.key == key]

    def pictures(self, key: str, number: int = 0) -> int:
        """Count the pictures of a publication so far; 0 when there is none."""
        found = self.publications(key)
        runs = [bytes(run) for run in found[number].runs] if number < len(found) else []
        return sum(tag.kind == VIDEO and not tag.is_config for run in runs for tag in split(run[: whole(run)]))

    def wait_pictures(self, key: str, count: int, number: int = 0, limit_s: float = 60) -> None:
        wait_until(lambda: self.pictures(key, number) >= count, limit_s)

    def numbers(self, key: str, number: int, folder: Path) -> list[int]:
        """Decode a publication that is over: the pictures' numbers in the order they are shown.

        Each configuration of the stream is decoded as its own file.
        """
        found: list[int] = []
        for place, run in enumerate(self.publications(key)[number].wait().runs):
            file = folder / f"{key}-{number}-{place}.flv"
            data = bytes(run)
            file.write_bytes(data[: whole(data)])
            found += framecode.play(file, audio=False).numbers if data else []
        return found


def in_order(numbers: list[int], loop: int = 0) -> bool:
    """Return whether pictures follow each other, in loops of `loop`; the last ones of a cut may lack references."""
    return all(after in {before + 1, 0 if before + 1 == loop else -1} for before, after in pairwise(numbers[:-FEW]))


def whole(data: bytes) -> int:
    """Return the offset at which the last whole tag ends."""
    at = 13
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if at + size + 15 > len(data):
            break
        at += size + 15
    return min(at, len(data))


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a server on a free port."""
    with rtmp_server(PATIENT, record=record_flv) as (server, ingest):
        yield Receiver(server.port, ingest)
