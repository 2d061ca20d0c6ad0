"""A Video Cloud that runs, and destinations in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx

from services.exporter.destinations.s3_client import S3Clients
from services.exporter.destinations.videocloud import VideoCloudDestination, VideoCloudMaker, Waits
from services.exporter.destinations.videocloud_api import Bases
from shared.errors import NotYet
from shared.runtime.clock import SystemClock
from tests.support.uploads import LOOPBACK, Kept, MemoryFile, credential, noise, order
from tests.support.web_peer import Peer
from tests.support.web_videocloud import ACCOUNT, CLIENT, SECRET, Cloud

PART = 1 << 20
CLIENTS = S3Clients(LOOPBACK, httpx.create_ssl_context())
SOON = timedelta(milliseconds=5)
WAITS = Waits(SOON, SOON * 4, timedelta(minutes=1))
SMALL, BIG = MemoryFile(b"the fast film"), MemoryFile(noise(2 * PART + 9))


class KilledError(Exception):
    """Stands for the exporter's end."""


@dataclass
class Scene:
    """A Video Cloud, and destinations in it."""

    cloud: Cloud
    server: Peer

    def to(
        self, accuracy: str = "segment", secret: str = SECRET, waits: Waits = WAITS, **options: Any
    ) -> VideoCloudDestination:
        bases = Bases(*(f"{self.server.url}/{api}" for api in ("oauth", "cms", "ingest")))
        maker = VideoCloudMaker.of(LOOPBACK, httpx.create_ssl_context(), SystemClock(), bases, waits)
        maker = replace(maker, clients=CLIENTS, bucket_endpoint=self.cloud.bucket.endpoint)
        options = {"video": {"name": "Goal", "tags": ["live"]}, "ingest": {"capture-images": True}} | options
        return maker(
            order("", credential("videocloud", CLIENT, secret, account_id=ACCOUNT), accuracy=accuracy, **options)
        )


async def put(destination: VideoCloudDestination, file: MemoryFile, kept: Kept) -> str:
    """Put a file as the exporter does: again, with what was kept, as long as it is not yet there."""
    while True:
        try:
            return await destination.put(file, kept)
        except NotYet as error:
            await asyncio.sleep(min(error.delay, destination.maker.waits.longest).total_seconds())


def killer(word: str) -> Any:
    """Return what dies once a note with a word was kept."""

    def kill(note: str) -> None:
        if word in note:
            raise KilledError

    return kill
