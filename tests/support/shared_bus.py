"""A service with a test's handlers, in this process or another, and what the broker has afterwards."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from shared.broker import streams
from shared.broker.bus import headers_of
from shared.broker.provision import consumer_config
from shared.broker.streams import DEADLETTERS, consumer
from shared.broker.subjects import channel_of, dead_letter_subject, subject_of
from shared.broker.turns import account_config, turn_consumer
from shared.messages.base import Message
from shared.messages.clips import ClipRefine
from shared.runtime.clock import SystemClock
from shared.runtime.service import Service, application, make_service
from shared.runtime.settings import Settings
from tests.support.nats import NatsServer

SECRET = "shared-tests"


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_id() -> str:
    return uuid4().hex


def settings_for(server: NatsServer, folder: Path, **more: Any) -> Settings:
    return Settings(data_dir=folder, nats_url=server.url, secret_key=SECRET, **more)  # type: ignore[arg-type]


def hasten(durable: str, **changes: Any) -> None:
    """Change a row of the table of consumers; undo it with `monkeypatch.setattr(streams, "CONSUMERS", ...)`."""
    streams.CONSUMERS = tuple(replace(c, **changes) if c.durable == durable else c for c in streams.CONSUMERS)


async def apply(js: JetStreamContext, durable: str, ack_wait: timedelta, account: str = "main") -> None:
    """Change a consumer's ack_wait at the server; for a work queue, that of an account's consumer."""
    spec = replace(consumer(durable), ack_wait=ack_wait)
    await js.add_consumer(spec.stream, account_config(spec, account) if spec.turns else consumer_config(spec))


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    """Run a built service as its process would."""
    app = application(service)
    async with app.lifespan_context():
        await app.start()
        try:
            yield service
        finally:
            await app.stop()


@contextlib.asynccontextmanager
async def served(
    name: str, build: Callable[[Service], None], settings: Settings, clock: Any = None
) -> AsyncIterator[Service]:
    """Make a service, and run it."""
    service = make_service(name, settings, clock)
    build(service)
    async with running(service):
        yield service


@contextlib.contextmanager
def child(settings: Settings, log: Path, *module: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module ...` with a service's settings; it is killed at the end."""
    given = {
        "REELAY_NATS_URL": settings.nats_url, "REELAY_DATA_DIR": str(settings.data_dir), "REELAY_SECRET_KEY": SECRET,
        **environment,
    }  # fmt: skip
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], env=os.environ | given, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(10)


async def send(js: JetStreamContext, message: Message, *, times: int = 1, dedup: bool = False) -> int:
    """Publish a message, by default so that the server does not drop duplicates; return its (last) sequence."""
    sequence = 0
    for _ in range(times):
        headers = headers_of(message, "test", SystemClock())
        if not dedup:
            del headers["Nats-Msg-Id"]
        body = message.model_dump_json().encode()
        sequence = (await js.publish(subject_of(message), body, stream=channel_of(message).stream, headers=headers)).seq
    return sequence


async def refine(js: JetStreamContext, body: bytes | None = None) -> tuple[str, int]:
    """Publish a ClipRefine (or garbage in its place); return clip and sequence."""
    clip = new_id()
    message = ClipRefine(account="main", clip=clip)
    if body is None:
        return clip, await send(js, message)
    return clip, (await js.publish(subject_of(message), body, stream=channel_of(message).stream)).seq


async def letter(js: JetStreamContext, durable: str, sequence: int) -> dict[str, Any] | None:
    """Return a dead letter; None where there is none."""
    try:
        found = await js.get_last_msg(DEADLETTERS, dead_letter_subject(durable, sequence))
    except NotFoundError:
        return None
    read: dict[str, Any] = json.loads(found.data or b"")
    return read | {"body": base64.b64decode(read["body"])}


async def idle(js: JetStreamContext, durable: str, sequence: int = 0) -> bool:
    """Return whether a consumer has nothing left to do and is past a sequence in its stream."""
    if consumer(durable).turns:
        return not await in_queue(js, durable)
    info = await js.consumer_info(consumer(durable).stream, durable)
    past = info.ack_floor is not None and info.ack_floor.stream_seq >= sequence
    return past and not info.num_pending and not info.num_ack_pending


async def in_queue(js: JetStreamContext, durable: str) -> int:
    """Count the messages in a work queue: waiting, and in work."""
    spec = consumer(durable)
    subjects = (await js.stream_info(spec.stream, subjects_filter=spec.filter)).state.subjects
    return sum((subjects or {}).values())


async def is_done(js: JetStreamContext, durable: str, sequence: int) -> bool:
    """Return whether a message of a work queue has been removed."""
    try:
        await js.get_msg(consumer(durable).stream, sequence)
    except NotFoundError:
        return True
    return False


async def turn_info(js: JetStreamContext, durable: str, account: str = "main") -> ConsumerInfo | None:
    """Return the broker's information about an account's consumer of a work queue; None while there is none."""
    try:
        return await js.consumer_info(consumer(durable).stream, turn_consumer(durable, account))
    except NotFoundError:
        return None


async def redelivered(js: JetStreamContext, durable: str, account: str = "main") -> int:
    """Count the messages of an account that were redelivered and are not done."""
    info = await turn_info(js, durable, account)
    return (info.num_redelivered or 0) if info else 0
