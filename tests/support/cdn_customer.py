"""A customer of the CDNetworks API, at a gateway in the test's own process."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from nats.js.errors import NotFoundError

from services.gateway.domain.restreams.parts import restream_id
from services.gateway.identity.cdn_accounts import signature
from shared.broker.kv import Bucket
from shared.broker.streams import commands_of
from shared.messages.restream_commands import RestreamCommand
from shared.messages.restreams import RestreamRecord
from shared.messages.subscriptions import Subscription, context_key
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer
from tests.support.subscriptions import contexts

PATH = "/api/cdn/v2/forwardRequest.action"


class Customer:
    """A customer of the API with its own account."""

    def __init__(self, api: Gateway, name: str, key: str) -> None:
        self.api, self.name, self.key = api, name, key
        self._count = itertools.count(1_409_284_800)

    async def send(self, body: bytes | str | dict[str, Any], **query: str) -> httpx.Response:
        random = query.get("r", str(next(self._count)))
        signed = {"n": self.name, "r": random, "k": signature(random, self.key), **query}
        content = json.dumps(body) if isinstance(body, dict) else body
        bare = {"X-API-KEY": "", "Content-Type": "application/json"}
        return await self.api.http.post(PATH, params=signed, content=content, headers=bare)

    async def command(self, ident: str = "123") -> RestreamCommand | None:
        """Return the last command about a task."""
        subject = f"restreams.command.main.{restream_id('main', ident)}"
        try:
            message = await self.api.js().get_last_msg(commands_of("restreamer"), subject)
        except NotFoundError:
            return None
        return RestreamCommand.model_validate_json(message.data or b"")

    async def repeated(self, told: Subscription | None) -> dict[str, Any]:
        """Read what the callbacks of a task repeat."""
        assert told is not None
        assert told.context is not None
        stored = await contexts(self.api.js()).get(context_key("main", told.context))
        assert stored is not None
        return stored.value.document


@contextlib.asynccontextmanager
async def customer_of(nats: NatsServer, folder: Path) -> AsyncIterator[Customer]:
    """Run a gateway, and yield a customer of it; delete all commands and restreams at the end."""
    async with gateway(nats, folder) as api:
        made = await api.http.post("/v1/cdn-accounts", json={"account": f"league-{folder.name}"[:60]})
        assert made.status_code == 201, made.text
        yield Customer(api, made.json()["n"], made.json()["key"])
        await api.js().purge_stream(commands_of("restreamer"), subject="restreams.command.>")
        kept = Bucket(api.js, "restreams", RestreamRecord)
        for stored in await kept.items("main"):
            await kept.delete(stored.key)
        repeated = contexts(api.js())
        for key in await repeated.keys():
            await repeated.delete(key)


def a_start(ident: str = "t1", **fields: Any) -> dict[str, Any]:
    task = {
        "id": ident,
        "src": [{"url": "http://example.com/a.mp4"}],
        "forward": [{"url": "rtmp://example.com/live/key"}],
        **fields,
    }
    return {"cmd": "1", "type": "video", "list": [task]}
