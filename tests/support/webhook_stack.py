"""A notifier in this process or in its own, and what a test needs to control it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import nats
from nats.js import JetStreamContext

from services.notifier.retries import Policy
from shared.broker.bus import headers_of
from shared.broker.kv import Bucket
from shared.broker.streams import consumer
from shared.broker.subjects import channel_of, subject_of
from shared.messages.base import Message
from shared.messages.clips import ClipStateChanged
from shared.messages.notifications import DeliveryRecord, LaneRecord, WebhookEndpoint
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.service import Service, make_service
from shared.runtime.settings import Settings
from shared.security.secrets import Vault
from shared.security.webhooks import VAULT_PURPOSE, new_secret, seal_url
from tests.support.nats import NatsServer
from tests.support.shared_bus import in_queue

KEY = "webhook-tests"
T = TypeVar("T")
# Retries by redelivery up to 0.4 s, then by schedule.
QUICK = Policy(
    delays=(timedelta(milliseconds=100), timedelta(milliseconds=300), timedelta(milliseconds=500)),
    shortest_schedule=timedelta(milliseconds=400),
    jitter=0,
)


def settings_for(server: NatsServer, folder: Path) -> Settings:
    values: dict[str, Any] = {
        "nats_url": server.url,
        "data_dir": folder,
        "secret_key": KEY,
        "allow_nets": "127.0.0.0/8",
    }
    return Settings(**values)


@contextlib.asynccontextmanager
async def running(
    name: str, build: Callable[[Service], None], settings: Settings, clock: Clock | None = None
) -> AsyncIterator[Service]:
    """Run a service in this process."""
    service = make_service(name, settings, clock)
    build(service)
    async with contextlib.AsyncExitStack() as stack:
        await service.broker.connect()
        for enter in service.lifespans:
            await stack.enter_async_context(enter())
        await service.broker.start()
        try:
            yield service
        finally:
            await service.broker.stop()


@contextlib.contextmanager
def process(name: str, settings: Settings, module: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run a service as users do, or `module` instead of it, in its own process."""
    given = {
        "REELAY_NATS_URL": settings.nats_url,
        "REELAY_DATA_DIR": str(settings.data_dir),
        "REELAY_SECRET_KEY": KEY,
        "REELAY_ALLOW_NETS": settings.allow_nets,
    }
    log = (settings.data_dir / f"{name}.log").open("ab")
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", module or f"services.{name}"], env=os.environ | given, stdout=log, stderr=log
        ) as child,
    ):
        try:
            yield child
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)


class Desk:
    """The other services' part: writes endpoints, publishes events, reads what the notifier wrote."""

    def __init__(self, js: JetStreamContext, account: str) -> None:
        self.js = js
        self.account = account
        self.deliveries = Bucket(lambda: js, "deliveries", DeliveryRecord)
        self.webhooks = Bucket(lambda: js, "webhooks", WebhookEndpoint)
        self.lanes = Bucket(lambda: js, "deliveries", LaneRecord)

    async def endpoint(self, url: str, *events: str) -> tuple[WebhookEndpoint, str]:
        """Register an endpoint as the gateway does; return it with its secret."""
        secret = new_secret()
        endpoint = WebhookEndpoint(
            account=self.account, endpoint=uuid.uuid4().hex, url=seal_url(Vault(KEY.encode()), url),
            events=events or ("*",), secret=Vault(KEY.encode()).encrypt(secret, VAULT_PURPOSE), created_ms=1,
        )  # fmt: skip
        await self.webhooks.create(f"{self.account}.{endpoint.endpoint}", endpoint)
        return endpoint, secret

    async def change(self, endpoint: WebhookEndpoint, **fields: Any) -> None:
        key = f"{self.account}.{endpoint.endpoint}"
        await self.webhooks.change(key, lambda old: old.model_copy(update=fields) if old else None)

    async def publish(self, message: Message, *, again: bool = False) -> None:
        """Publish a message to its stream; `again`: so that the server does not drop it as a duplicate."""
        fields = headers_of(message, "test", SystemClock())
        if again:
            fields["Nats-Msg-Id"] += f"-{uuid.uuid4().hex}"
        stream = channel_of(message).stream
        await self.js.publish(subject_of(message), message.model_dump_json().encode(), stream=stream, headers=fields)

    async def all(self) -> list[DeliveryRecord]:
        return sorted((s.value for s in await self.deliveries.items(self.account)), key=lambda r: r.position)

    async def settled(self, number: int, within: float = 30) -> list[DeliveryRecord]:
        """Wait until there are `number` deliveries and none is pending."""

        async def done() -> list[DeliveryRecord] | None:
            records = await self.all()
            return records if len(records) == number and all(r.state != "pending" for r in records) else None

        return await eventually(done, within)

    async def waiting(self, durable: str) -> int:
        """Return how many messages of a consumer are not done."""
        if consumer(durable).turns:
            return await in_queue(self.js, durable)
        info = await self.js.consumer_info(consumer(durable).stream, durable)
        return int((info.num_pending or 0) + (info.num_ack_pending or 0))

    def state(self, clip: str, revision: int, state: str = "processing", **fields: Any) -> ClipStateChanged:
        return ClipStateChanged(
            account=self.account, clip=clip, event="e" * 32, state=state, at_ms=time.time_ns() // 1_000_000,
            revision=revision, **fields,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def desk(server: NatsServer) -> AsyncIterator[Desk]:
    """Connect, with an account for the test alone."""
    connection = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        yield Desk(connection.jetstream(timeout=10), f"a{uuid.uuid4().hex[:12]}")
    finally:
        await connection.close()


async def eventually(ask: Callable[[], Awaitable[T | None]], within: float = 30) -> T:
    """Ask until there is an answer."""
    async with asyncio.timeout(within):
        while True:
            if answer := await ask():
                return answer
            await asyncio.sleep(0.03)
