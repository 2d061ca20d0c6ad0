"""A recorded stream with a backend that decides who plays it, and players of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.support.api_gateway import Gateway, until
from tests.support.flussonic_stream import Recorded, recorded
from tests.support.webhook_receiver import Receiver


@dataclass
class Channel:
    """A recorded stream with a backend, and players of it."""

    recorded: Recorded
    backend: Receiver
    client: httpx.AsyncClient

    @property
    def api(self) -> Gateway:
        return self.recorded.api

    async def get(self, leaf: str = "index.m3u8", token: str | None = "t1", **more: Any) -> httpx.Response:
        query = {"token": token} if token is not None else {}
        url = f"{self.api.parts.public.base}/{self.recorded.name}/{leaf}"
        return await self.client.get(url, params=query, headers=more)

    async def statuses(self, *tokens: str) -> list[int]:
        return [(await self.get(token=token)).status_code for token in tokens]

    def asked(self) -> list[dict[str, str]]:
        """Return the questions so far."""
        return [dict(parse_qsl(urlsplit(one.path).query, keep_blank_values=True)) for one in self.backend.requests]

    async def set(self, **on_play: Any) -> httpx.Response:
        body = {"on_play": {"url": self.backend.url("/auth?site=1"), **on_play}}
        return await self.api.http.put(f"/streamer/api/v3/streams/{self.recorded.name}", json=body)

    async def later(self, seconds: float) -> None:
        """Let time pass for the gateway's sessions."""
        self.api.parts.admission.clock = Later(self.api.parts.admission.clock, seconds)  # type: ignore[assignment]
        self.api.parts.admission.backends._clock = self.api.parts.admission.clock


@dataclass
class Later:
    """A clock that goes before another."""

    clock: Any
    seconds: float

    def monotonic_ns(self) -> int:
        return int(self.clock.monotonic_ns() + self.seconds * 1e9)

    def now_ms(self) -> int:
        return int(self.clock.now_ms())


@contextlib.asynccontextmanager
async def channel(api: Gateway, backend: Receiver, media: Path, **on_play: Any) -> AsyncIterator[Channel]:
    async with httpx.AsyncClient(timeout=30) as client:
        made = Channel(await recorded(api, client, 40), backend, client)
        await made.recorded.add(media, 0, 10)
        answer = await made.set(**on_play)
        assert answer.status_code == 200, answer.text

        async def known() -> bool:
            found = await made.get(token=None)
            return found.status_code != 401

        await until(known)
        backend.requests.clear()
        yield made
