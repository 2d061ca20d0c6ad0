"""A stream of the streamer API with a real recording, and somebody who plays it with a token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from services.gateway.delivery.tokens import make_name_token
from tests.support.api_gateway import Gateway
from tests.support.hls_media import record
from tests.support.recordings import Session, publish


@dataclass
class Recorded:
    """A stream whose recording began at `start_s`, epoch; its segments last 1 s and hold 25 pictures."""

    api: Gateway
    name: str
    job: str
    start_s: int
    token: str
    player: httpx.AsyncClient

    def url(self, leaf: str, **query: Any) -> str:
        """Return the address of something below the stream's name, with a token."""
        text = "&".join(f"{name}={value}" for name, value in {"token": self.token, **query}.items())
        return f"{self.api.parts.public.base}/{self.name}/{leaf}?{text}"

    async def text(self, leaf: str, status: int = 200, **query: Any) -> str:
        """Get a playlist."""
        answer = await self.player.get(self.url(leaf, **query))
        assert answer.status_code == status, answer.text
        return answer.text

    async def add(self, folder: Path, at_s: int, seconds: int, **codecs: str) -> Session:
        """Record a session's media, from `at_s` after the start on."""
        session = Session(self.job, origin_ms=at_s * 1000, first_frame_ms=self.start_s * 1000)
        segments = record(self.api.parts.store, session, folder, seconds, **codecs)
        await publish(self.api.ingester.js(), [one.model_copy(update={"account": "main"}) for one in segments])
        return session


async def recorded(api: Gateway, player: httpx.AsyncClient, back_s: int, name: str = "") -> Recorded:
    """Make a stream whose recording began `back_s` ago, in a whole second."""
    name = name or f"tv/{uuid4().hex[:8]}"
    made = (await api.http.put(f"/streamer/api/v3/streams/{name}", json={"title": "Channel"})).json()
    job, now_s = made["reelay"]["job"], api.clock.now_ms() // 1000
    token = make_name_token(api.parts.service.vault, "main", name, now_s + 3600)
    return Recorded(api, name, job, now_s - back_s, token, player)
