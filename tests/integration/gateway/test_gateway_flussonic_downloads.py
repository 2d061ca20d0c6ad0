"""An archive MP4 that is downloaded while it is recorded: frame by frame the file that is there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from services.gateway.delivery.rebase import slot_size
from services.gateway.delivery.tokens import make_name_token
from services.gateway.facades.flussonic.file_routes import MORE
from shared.runtime.settings import Settings
from tests.support.api_gateway import Gateway, gateway, until
from tests.support.clipper_desk import Desk
from tests.support.framecode import play
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer

LENGTH = 12
NUMBERS = [*range(180), *range(180)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(), tmp_path_factory.mktemp("recording"))


@dataclass
class Growing:
    """A recording of which the first half is there, and its download."""

    api: Gateway
    desk: Desk
    player: httpx.AsyncClient
    url: str
    got: bytearray = field(default_factory=bytearray)

    async def download(self) -> None:
        async with self.player.stream("GET", self.url) as answer:
            assert answer.status_code == 200
            assert answer.headers["accept-ranges"] == "none"
            async for piece in answer.aiter_bytes():
                self.got.extend(piece)

    async def whole(self, recording: Recording) -> bytes:
        """Download while the second half is recorded."""
        async with asyncio.timeout(60):
            loading = asyncio.create_task(self.download())
            first = sum(segment.path.stat().st_size for segment in recording.segments)

            async def half() -> bool:
                return len(self.got) >= first

            await until(half)  # what there is comes at once
            assert not loading.done()
            await self.desk.announce(self.desk.session(recording, 6000))
            self.api.clock.ahead_ms = 30_000
            await loading
        return bytes(self.got)


@contextlib.asynccontextmanager
async def growing(nats: NatsServer, folder: Path, recording: Recording) -> AsyncIterator[Growing]:
    async with gateway(nats, folder) as api, httpx.AsyncClient(timeout=60) as player:
        job = (await api.job())["id"]
        begun_ms = (api.clock.now_ms() // 1000 - 8) * 1000
        desk = Desk(api.ingester.js(), Settings(data_dir=folder, nats_url=nats.url), job, begun_ms)
        await desk.announce(desk.session(recording))
        token = make_name_token(api.parts.service.vault, "main", job, begun_ms // 1000 + 3600)
        url = f"{api.parts.public.base}/{job}/archive-{begun_ms // 1000}-{LENGTH}.mp4?token={token}"
        yield Growing(api, desk, player, url)


async def test_a_growing_download_is_the_finished_file_and_can_be_resumed(
    nats: NatsServer, tmp_path: Path, recording: Recording
) -> None:
    async with growing(nats, tmp_path, recording) as at:
        got = await at.whole(recording)
        head = await at.player.head(at.url)
        assert int(head.headers["content-length"]) == len(got)
        whole = (await at.player.get(at.url)).content
        slot = slot_size(LENGTH + MORE)
        init = recording.init.stat().st_size
        assert (whole[:init], whole[init + slot :]) == (got[:init], got[init + slot :])
        cut = init + slot + 1000
        rest = await at.player.get(at.url, headers={"Range": f"bytes={cut}-", "If-Range": head.headers["etag"]})
        assert rest.status_code == 206
        assert rest.headers["content-range"] == f"bytes {cut}-{len(got) - 1}/{len(got)}"
        for name, data in (("grown", got), ("whole", whole), ("resumed", got[:cut] + rest.content)):
            path = tmp_path / f"{name}.mp4"
            path.write_bytes(data)
            seen = await asyncio.to_thread(play, path)
            assert (seen.numbers, seen.warnings) == (NUMBERS, ""), name
