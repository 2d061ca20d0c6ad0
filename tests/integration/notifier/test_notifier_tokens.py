"""Receivers that want a token: it is fetched, kept, sent, and fetched again when it is refused or has expired."""

from __future__ import annotations

import base64
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from services.notifier.app import build
from services.scheduler.app import build as build_scheduler
from shared.broker.kv import Bucket
from shared.messages.base import Notification
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord, credential_id
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url
from tests.support.nats import NatsServer
from tests.support.webhook_receiver import Receiver, Reply, webhook_receiver
from tests.support.webhook_stack import KEY, QUICK, Desk, desk, eventually, running, settings_for

VAULT = Vault(KEY.encode())
NAME = "hook tokens"


def token(text: str, lasts: Any = 3600) -> Reply:
    return Reply(body=json.dumps({"access_token": text, "token_type": "Bearer", "expires_in": lasts}).encode())


@contextlib.asynccontextmanager
async def setting(nats: NatsServer, folder: Path) -> AsyncIterator[tuple[Desk, Receiver, Receiver]]:
    """A desk, a receiver, a token server, and a notifier."""
    settings = settings_for(nats, folder)
    async with (
        desk(nats) as of,
        webhook_receiver() as receiver,
        webhook_receiver() as server,
        running("scheduler", build_scheduler, settings),
        running("notifier", partial(build, policy=QUICK), settings),
    ):
        await store(of, server)
        yield of, receiver, server


async def store(of: Desk, server: Receiver, changed_ms: int = 1, **more: Any) -> None:
    """Store credentials as the gateway does."""
    record = CredentialRecord(
        account=of.account, credential=credential_id(NAME), name=NAME, type="oauth", public="client",
        secret=VAULT.encrypt("secret", CREDENTIAL_PURPOSE), url=seal_url(VAULT, server.url("/token")), created_ms=1,
        changed_ms=changed_ms, **more,
    )  # fmt: skip
    key = f"{of.account}.{record.credential}"
    await Bucket(lambda: of.js, "credentials", CredentialRecord).change(key, lambda _: record)


async def tell(of: Desk, receiver: Receiver, count: int = 1) -> None:
    """Publish events of clips that name the receiver."""
    told = Notification(url=seal_url(VAULT, receiver.url()), credentials=credential_id(NAME))
    for _ in range(count):
        await of.publish(of.state(uuid.uuid4().hex, 1, notifications=(told,)))


def sent(receiver: Receiver) -> list[str]:
    return [request.headers.get("authorization", "") for request in receiver.requests]


async def test_a_token_is_fetched_once_and_sent_with_each(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver, server):
        server.default = token("one")
        await tell(of, receiver, 5)
        records = await of.settled(5)
        assert {record.state for record in records} == {"delivered"}
        assert sent(receiver) == ["Bearer one"] * 5
        (asked,) = server.requests
        assert asked.body == b"grant_type=client_credentials"
        assert base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")) == b"client:secret"
        stored = "".join(record.model_dump_json() for record in records)
        assert not [word for word in ("Bearer", "secret", "/token", "/hook?") if word in stored]


async def test_one_that_has_expired_is_replaced(nats: NatsServer, tmp_path: Path) -> None:
    """`expires_in` of 30 s or less: it is used for a second; other values: for five minutes."""
    async with setting(nats, tmp_path) as (of, receiver, server):
        server.script = [token("short", 1), token("long", "soon"), token("never")]
        await tell(of, receiver)
        await receiver.count(1)

        async def changed() -> bool:
            await tell(of, receiver)
            await receiver.count(len(receiver.requests) + 1)
            return sent(receiver)[-1] != "Bearer short"

        await eventually(changed)
        await tell(of, receiver)
        await receiver.count(len(receiver.requests) + 1)
        assert sent(receiver)[-2:] == ["Bearer long"] * 2


async def test_one_that_is_refused_is_replaced_once(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver, server):
        server.script = [token("old"), token("new")]
        receiver.script = [Reply(200), Reply(401), Reply(200)]
        await tell(of, receiver)
        await receiver.count(1)
        await tell(of, receiver)
        records = await of.settled(2)
        assert sent(receiver) == ["Bearer old", "Bearer old", "Bearer new"]
        assert [(record.state, record.tries) for record in records] == [("delivered", 1)] * 2


async def test_a_receiver_that_refuses_every_token_is_tried_later(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver, server):
        server.default = token("any")
        receiver.script = [Reply(401), Reply(401), Reply(200)]
        await tell(of, receiver)
        (record,) = await of.settled(1)
        assert [attempt.status for attempt in record.attempts] == [401, 200]
        assert len(receiver.requests) == 3


async def test_nothing_is_sent_without_a_token(nats: NatsServer, tmp_path: Path) -> None:
    """The token server is down, refuses, answers nonsense or too much, and is well again."""
    async with setting(nats, tmp_path) as (of, receiver, server):
        refused = Reply(401, body=b'{"error": "invalid_client", "error_description": "client:secret"}')
        odd = [
            Reply(body=b"<html>"),
            Reply(body=b'{"access_token": 7}'),
            Reply(body=b'{"access_token": "a b\\r\\nX: y"}'),
        ]
        server.script = [Reply(503), refused, Reply(silent=True), *odd, token("well")]
        await tell(of, receiver)
        (record,) = await of.settled(1)
        assert (record.state, sent(receiver)) == ("delivered", ["Bearer well"])
        errors = [attempt.error for attempt in record.attempts]
        assert errors[1] == "the token server answers HTTP 401 (invalid_client), and no token"
        assert len(errors) == 7
        assert "secret" not in record.model_dump_json()


async def test_changed_credentials_count_at_once(nats: NatsServer, tmp_path: Path) -> None:
    async with setting(nats, tmp_path) as (of, receiver, server):
        server.script = [token("before"), token("after")]
        await tell(of, receiver)
        await receiver.count(1)
        await store(of, server, changed_ms=2)
        await tell(of, receiver)
        await receiver.count(2)
        assert sent(receiver) == ["Bearer before", "Bearer after"]
        await store(of, server, changed_ms=3, host="elsewhere.example")
        await tell(of, receiver)

        async def failed() -> bool:
            errors = [attempt.error for record in await of.all() for attempt in record.attempts]
            return any("elsewhere.example alone" in error for error in errors)

        await eventually(failed)
        assert len(receiver.requests) == 2, "they go to no other host"
