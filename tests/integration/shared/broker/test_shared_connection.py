"""A service's connection outlives what the broker says of it, and asks for nothing without a pause."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.broker import connection
from shared.broker.provision import consumer_config, provision_url
from shared.broker.streams import consumer
from shared.messages.base import Message
from shared.messages.live import JobStateChanged
from shared.runtime.service import Service
from shared.runtime.settings import Settings
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import until
from tests.support.shared_bus import SECRET, new_id, send, served, settings_for

EVENTS = "scheduler-jobs"
PAUSE = connection.PAUSE


def changed(event: str) -> Message:
    return JobStateChanged(account="main", event=event, state="finished", at_ms=1, revision=1)


class Heard:
    """Notes the events that its service is told of."""

    def __init__(self) -> None:
        self.events: set[str] = set()

    def build(self, service: Service) -> None:
        async def note(message: JobStateChanged) -> None:
            self.events.add(message.event)

        service.handle(EVENTS, note)

    async def goes_on(self, service: Service) -> None:
        """Send an event until it is heard."""
        event = new_id()

        async def told() -> bool:
            try:
                await send(service.js(), changed(event))
            except (OSError, TimeoutError, connection.NatsError):
                return False
            return event in self.events

        await until(told)


def users(password: str) -> str:
    return f'authorization {{ users: [ {{ user: reelay, password: "{password}" }} ] }}\n'


async def another_password(server: NatsServer, service: Service) -> None:
    """Change the password of the service's user until it is refused anew, and back: a wrong configuration."""
    assert server.process is not None
    conf, client = server.folder / "server.conf", service.broker.config.connection_state.connection
    conf.write_text(users("another"))
    os.kill(server.process.pid, signal.SIGHUP)
    await until(lambda: asyncio.sleep(0, not client.is_connected and "Violation" in str(client.last_error)))
    conf.write_text(users("right"))
    os.kill(server.process.pid, signal.SIGHUP)


async def too_large(_server: NatsServer, service: Service) -> None:
    """Send what passes the broker's limit only together with its headers: refused here, and nothing else ends."""
    client = service.broker.config.connection_state.connection
    reconnects = client.stats["reconnects"]
    with pytest.raises(connection.MaxPayloadError):
        await service.js().publish("too.large", bytes(client.max_payload - 10), headers={"a": "b"})
    await client.flush()
    assert client.stats["reconnects"] == reconnects


async def refused(_server: NatsServer, service: Service) -> None:
    """Send what the broker calls an error and ends the connection for."""
    client = service.broker.config.connection_state.connection
    reconnects = client.stats["reconnects"]
    await Client.publish(client, "too.large", bytes(client.max_payload - 10), "", {"a": "b"})
    await until(lambda: asyncio.sleep(0, client.stats["reconnects"] > reconnects))


@pytest.mark.parametrize("what", [another_password, too_large, refused])
async def test_a_service_goes_on_after_an_error_that_the_broker_names(
    tmp_path: Path, what: Callable[[NatsServer, Service], Awaitable[None]]
) -> None:
    folder = tmp_path / "nats"
    folder.mkdir()
    (folder / "server.conf").write_text(users("right"))
    heard = Heard()
    with nats_server(folder, provisioned=False) as server:
        url = server.url.replace("//", "//reelay:right@")
        await provision_url(url, 1)
        settings = Settings(data_dir=tmp_path, nats_url=url, secret_key=SECRET)  # type: ignore[arg-type]
        async with served("scheduler", heard.build, settings) as service:
            await heard.goes_on(service)
            await what(server, service)
            await heard.goes_on(service)


@pytest.mark.parametrize("pause", [timedelta(hours=1), PAUSE])
async def test_a_consumer_that_is_missing_is_asked_after_a_pause(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: timedelta
) -> None:
    monkeypatch.setattr(connection, "PAUSE", pause)
    heard, spec, others = Heard(), consumer(EVENTS), 200
    async with served("scheduler", heard.build, settings_for(nats, tmp_path)) as service:
        js, client = service.js(), service.broker.config.connection_state.connection
        await heard.goes_on(service)
        await js.delete_consumer(spec.stream, spec.durable)
        before = client.stats["out_msgs"]
        for _ in range(others):
            await js.account_info()
        asked = client.stats["out_msgs"] - before - others
        assert asked < others / 10, "as often as the others together, were it not for the pause"
        await js.add_consumer(spec.stream, consumer_config(spec))
        if pause == PAUSE:
            await heard.goes_on(service)
