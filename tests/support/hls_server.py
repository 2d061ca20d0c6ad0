"""Delivery on a real port, with a real broker and store, and methods that act as ingester and gateway."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI
from nats.js import JetStreamContext

from services.gateway.app import limits_of
from services.gateway.delivery import Delivery, playback_url, router
from services.gateway.domain.quotas import Quotas
from services.gateway.http import problems, unmatched
from services.gateway.http.headers import Headers
from services.gateway.http.server import listen, serving
from services.gateway.identity.keys import Keys as ApiKeys
from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.messages.keys import ApiKeyRecord
from shared.messages.live import JobState
from shared.recording.clear_store import ClearStore
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings
from shared.security.content_keys import ContentKeys
from shared.security.secrets import Vault
from shared.store import MediaStore
from shared.store.local import LocalStore
from tests.support.recordings import ACCOUNT, connected


class SetClock(SystemClock):
    """A wall clock that stands where it is set; the monotonic one jumps ahead at each call: nothing stays fresh."""

    at_ms: int | None = None
    jump_ns = 10_000_000_000
    _now_ns = 0

    def now_ms(self) -> int:
        return super().now_ms() if self.at_ms is None else self.at_ms

    def monotonic_ns(self) -> int:
        self._now_ns += self.jump_ns
        return self._now_ns


class Keys:
    """API keys by their text."""

    def __init__(self) -> None:
        self.known: dict[str, ApiKeyRecord] = {}

    async def find(self, text: str, _unknown: object = None) -> ApiKeyRecord | None:
        return self.known.get(text)

    def add(self, text: str, *scopes: str, account: str = ACCOUNT) -> None:
        self.known[text] = ApiKeyRecord.model_validate(
            {"account": account, "key_id": "0" * 32, "scopes": scopes, "created_ms": 0}
        )


@dataclass
class HlsServer:
    js: JetStreamContext
    store: MediaStore
    clock: SetClock
    keys: Keys
    delivery: Delivery
    base_url: str
    http: httpx.AsyncClient

    async def job(self, event: str, state: JobState = "processing", *, account: str = ACCOUNT, dvr_s: int = 0) -> None:
        """Write the event's job as the gateway does."""
        job = JobRecord(
            account=account, event=event, state=state, created_ms=0, changed_ms=0, stream_key="", passphrase="",
            dvr_window_s=dvr_s,
        )  # fmt: skip
        bucket = Bucket(lambda: self.js, "events", JobRecord)
        await bucket.change(f"{account}.{event}", lambda _: job)

    def url(self, event: str, name: str = "index.m3u8", *, account: str = ACCOUNT) -> str:
        """Return a signed URL in the event's tree."""
        url = playback_url(self.delivery.vault, self.clock, self.base_url, account, event)
        return url.removesuffix("index.m3u8") + name

    async def text(self, url: str) -> str:
        """Get a playlist."""
        answer = await self.http.get(url)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
        return answer.text


@contextlib.asynccontextmanager
async def hls_server(nats_url: str, folder: Path) -> AsyncIterator[HlsServer]:
    """Serve delivery while the block runs."""
    async with connected(nats_url) as js, httpx.AsyncClient(timeout=30) as client:
        clock, keys, store = SetClock(), Keys(), LocalStore(folder / "media")
        app = FastAPI()
        app.add_middleware(Headers)
        problems.install(app)
        unmatched.install(app, {})
        app.include_router(router)
        with listen("127.0.0.1", 0) as bound:
            base_url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            vault = Vault(b"test")
            clear = ClearStore(store, ContentKeys(vault))
            delivery = Delivery(lambda: js, clear, vault, clock, lambda: base_url)
            app.state.parts = {Delivery: delivery, ApiKeys: keys, Quotas: Quotas(limits_of(Settings()), clock)}
            async with serving(app, bound):
                yield HlsServer(js, store, clock, keys, delivery, base_url, client)
