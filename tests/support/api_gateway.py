"""A gateway in the test's process: real broker, real port, and methods that act as the other services."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from nats.js import JetStreamContext

from services.gateway.app import Gateway as Parts
from services.gateway.app import make_gateway, serve, web_of
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCreate, ClipFile, ClipRecord
from shared.messages.live import SessionEnded, SessionStarted
from shared.messages.sessions import EventClock, clock_key
from shared.runtime.clock import SystemClock
from shared.runtime.service import Service, make_service
from shared.runtime.settings import Settings
from tests.support.nats import NatsServer


class MovableClock(SystemClock):
    """The machine's clock with an offset."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


async def until(probe: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """Wait until `probe` returns something true, and return it."""
    async with asyncio.timeout(seconds):
        while True:
            if found := await probe():
                return found
            await asyncio.sleep(0.02)


@dataclass
class Gateway:
    """A running gateway, and methods that act as the other services."""

    parts: Parts
    web: FastAPI
    clock: MovableClock
    admin: str
    http: httpx.AsyncClient
    ingester: Service
    clipper: Service
    folder: Path
    made: list[Any] = field(default_factory=list)

    def js(self) -> JetStreamContext:
        """Return the gateway's broker."""
        return self.parts.service.js()

    async def job(self, **fields: Any) -> dict[str, Any]:
        """Make a job."""
        answer = await self.http.post("/v1/jobs", json={"name": "match", **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def publish(self, job: str, *, ago_ms: int = 60_000, account: str = "main") -> str:
        """Start a session as the ingester does, whose first frame came `ago_ms` ago."""
        at_ms = self.clock.now_ms() - ago_ms
        session = uuid.uuid4().hex
        clocks = Bucket(self.ingester.js, "sessions", EventClock)
        place = clock_key(account, job)
        await clocks.change(place, lambda there: None if there else EventClock(first_frame_ms=at_ms))
        await self.ingester.outbox.emit(
            SessionStarted(account=account, event=job, session=session, protocol="rtmp", at_ms=at_ms, origin_ms=0)
        )
        await self.until_state(job, "processing", account=account)
        return session

    async def unpublish(self, job: str, session: str, *, account: str = "main") -> None:
        """End a session as the ingester does."""
        await self.ingester.outbox.emit(
            SessionEnded(
                account=account, event=job, session=session, at_ms=self.clock.now_ms(), reason="disconnected",
                segments=1, bytes=1,
            )
        )  # fmt: skip

    async def until_state(self, job: str, *states: str, account: str = "main") -> dict[str, Any]:
        """Wait until a job is in one of the states."""

        async def look() -> dict[str, Any] | None:
            answer = await self.http.get(f"/v1/jobs/{job}", headers={"X-Reelay-Account": account})
            return answer.json() if answer.status_code == 200 and answer.json()["state"] in states else None

        return dict(await until(look))

    async def command(self, clip: str, account: str = "main") -> ClipCreate:
        """Return the command that waits for a clipper."""
        return (await self.parts.clips.find(account, clip)).request

    async def write_clip(self, command: ClipCreate, **fields: Any) -> ClipRecord:
        """Write a clip's record as the clipper does."""
        now = self.clock.now_ms()
        bucket = Bucket(self.clipper.js, "clips", ClipRecord)
        base = ClipRecord(
            account=command.account, clip=command.clip, request=command, state="processing", created_ms=now,
            changed_ms=now,
        )  # fmt: skip
        record = await bucket.change(
            f"{command.account}.{command.clip}", lambda there: (there or base).model_copy(update=fields)
        )
        assert record
        return record

    def put_file(self, command: ClipCreate, data: bytes, accuracy: str = "segment", **fields: Any) -> ClipFile:
        """Put a clip's file into the store."""
        key = f"clips/{command.account}/{command.clip}/{accuracy}.mp4"
        self.parts.store.put(key, data)
        values = {
            "accuracy": accuracy, "method": "copy", "key": key, "bytes": len(data), "in_point": "4", "out_point": "14",
            "duration": "10", "frames": 300,
        }  # fmt: skip
        return ClipFile.model_validate(values | fields)


@contextlib.asynccontextmanager
async def connected(name: str, settings: Settings) -> AsyncIterator[Service]:
    """Connect as another service."""
    service = make_service(name, settings)
    await service.broker.connect()
    try:
        yield service
    finally:
        await service.broker.stop()


@contextlib.asynccontextmanager
async def gateway(nats: NatsServer, folder: Path, **settings: Any) -> AsyncIterator[Gateway]:
    """Run a gateway on a free port; `http` carries the admin key."""
    given = Settings(data_dir=folder, nats_url=nats.url, http_port=0, **settings)
    clock = MovableClock()
    async with contextlib.AsyncExitStack() as stack:
        service = make_service("gateway", given, clock)
        parts = make_gateway(service)
        run = serve(parts)
        await service.broker.connect()
        stack.push_async_callback(service.broker.stop)
        await stack.enter_async_context(run())
        for enter in service.lifespans:
            await stack.enter_async_context(enter())
        await service.broker.start()
        admin = given.given_admin_key or (folder / "admin.key").read_text().strip()
        client = httpx.AsyncClient(base_url=parts.public.base, headers={"X-API-KEY": admin}, timeout=30)
        http = await stack.enter_async_context(client)
        ingester = await stack.enter_async_context(connected("ingester", given))
        clipper = await stack.enter_async_context(connected("clipper", given))
        yield Gateway(parts, web_of(parts), clock, admin, http, ingester, clipper, folder)


async def make_key(api: Gateway, *scopes: str, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post("/v1/keys", json={"scopes": list(scopes), **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def with_key(api: Gateway, key: str, method: str, path: str, **more: Any) -> httpx.Response:
    return await api.http.request(method, path, headers={"X-API-KEY": key}, **more)
