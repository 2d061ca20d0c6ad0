"""A clipper's side, a user's place that misbehaves, and exporters between them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext

from services.exporter import app, deliver
from services.exporter.deliver import Deliverer
from services.exporter.records import Exports
from services.exporter.transfer import Pace
from services.exporter.workshop import Workshop
from shared.broker.kv import Bucket
from shared.messages.base import Accuracy
from shared.messages.credentials import CredentialRecord
from shared.messages.destinations import DestinationSpec
from shared.messages.exports import ExportDeliver, ExportRecord
from shared.runtime.clock import SystemClock
from shared.runtime.service import Service, make_service
from shared.store.local import LocalStore
from tests.support.clipper_desk import read_all
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import idle, send, served, settings_for
from tests.support.wild_destination import Place

ACCOUNT = "main"
LANE = "exporter-deliver"
SIZE = 20_000  # more pieces than there are tries
FAST = Pace(
    look=timedelta(milliseconds=20), record=timedelta(milliseconds=20), tell=timedelta(milliseconds=20),
    patience=timedelta(milliseconds=300), outage=timedelta(seconds=5),
)  # fmt: skip


@dataclass
class Desk:
    """A clipper's side, the user's place, and an exporter's core."""

    js: JetStreamContext
    store: LocalStore
    service: Service
    place: Place = field(default_factory=Place)

    def exporter(self, **more: Any) -> Deliverer:
        """Make an exporter; each call is another instance."""
        credentials = Bucket(self.service.js, "credentials", CredentialRecord)
        workshop = Workshop({"s3": self.place.make}, credentials, self.service.vault)
        records = Exports(Bucket(self.service.js, "exports", ExportRecord), SystemClock())
        return Deliverer(
            self.store, records, workshop, self.service.outbox, SystemClock(), **{"pace": FAST, **more}
        )  # fmt: skip

    def order(self, export: str, accuracy: Accuracy, size: int = 5000) -> ExportDeliver:
        data = self.data(export, accuracy, size)
        key = f"clips/{ACCOUNT}/{export}/{accuracy}.mp4"
        self.store.put(key, data)
        return ExportDeliver(
            account=ACCOUNT, export=export, clip=export, accuracy=accuracy, source_key=key, bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            destination=DestinationSpec(export=export, type="s3", shown="s3://bucket/", file_name=f"{export}.mp4"),
        )  # fmt: skip

    def data(self, export: str, accuracy: Accuracy, size: int = 5000) -> bytes:
        text = f"{accuracy} of {export} ".encode()
        return (text * (size // len(text) + 1))[:size]

    async def record(self, export: str) -> ExportRecord:
        stored = await Bucket(lambda: self.js, "exports", ExportRecord).get(f"{ACCOUNT}.{export}")
        assert stored is not None
        return stored.value

    async def told(self, export: str) -> list[tuple[str, str]]:
        """Return what was published about an export, in order, without its progress."""
        said = await read_all(self.js, "EVENTS", f"exports.*.{ACCOUNT}.{export}")
        names = [(channel.removeprefix("exports."), body["accuracy"]) for channel, body in said]
        return [one for one in names if one[0] != "progressed"]

    def there(self, export: str) -> bytes | None:
        return self.place.files.get(f"{export}.mp4")


@asynccontextmanager
async def desk(nats: NatsServer, folder: Path) -> AsyncIterator[Desk]:
    settings = settings_for(nats, folder)
    service = make_service("exporter", settings)
    await service.broker.connect()
    try:
        async with connected(nats.url) as js:
            yield Desk(js, LocalStore(settings.media_dir), service)
    finally:
        await service.broker.stop()


@asynccontextmanager
async def serving(at: Desk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Run a whole exporter, whose destinations are the place."""
    monkeypatch.setattr(app, "makers", lambda *_: {"s3": at.place.make})
    monkeypatch.setattr(deliver, "Pace", lambda: FAST)
    async with served("exporter", app.build, at.service.settings):
        yield


async def handled(at: Desk, order: ExportDeliver, times: int = 1) -> int:
    """Send a command, and wait until it is done with."""
    sequence = await send(at.js, order, times=times)
    await until(lambda: idle(at.js, LANE, sequence))
    return sequence
