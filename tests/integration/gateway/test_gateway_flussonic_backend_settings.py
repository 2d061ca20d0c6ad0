"""Backends in streams' configurations and in settings: what may be set, whom the ingest asks, whose name it is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.security.webhooks import open_url
from tests.support.api_gateway import Gateway, gateway, make_key, until
from tests.support.flussonic_backend import channel
from tests.support.flussonic_stream import recorded
from tests.support.nats import NatsServer
from tests.support.webhook_receiver import Receiver, Reply, webhook_receiver

LOCAL = {"allow_nets": "127.0.0.0/8"}


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, **LOCAL) as running:
        yield running


async def test_of_one_name_in_two_accounts_the_older_one_is_meant(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(api, backend, media) as at, webhook_receiver() as thief:
        body = {"on_play": {"url": thief.url("/auth")}}
        headers = {"X-Reelay-Account": "thief"}
        taken = await api.http.put(f"/streamer/api/v3/streams/{at.recorded.name}", json=body, headers=headers)
        assert taken.status_code == 200
        base = f"{api.parts.public.base}/{at.recorded.name}/index.m3u8"

        async def named() -> bool:
            return (await at.client.get(base, params={"token": "x", "account": "thief"})).status_code == 404

        await until(named)
        assert thief.requests
        thief.requests.clear()
        assert (await at.client.get(base, params={"token": "x"})).status_code == 200
        assert not thief.requests


async def test_the_ingest_learns_whom_to_ask(api: Gateway, backend: Receiver) -> None:
    url, path = backend.url("/pub"), "/streamer/api/v3/streams/tv/published"
    jobs = Bucket(api.js, "events", JobRecord)

    async def asks(body: dict[str, Any]) -> tuple[str, str]:
        made = (await api.http.put(path, json=body)).json()
        stored = await jobs.get(f"main.{made['reelay']['job']}")
        assert stored is not None
        assert url not in stored.value.model_dump_json()
        return open_url(api.parts.service.vault, stored.value.on_publish), stored.value.stream

    assert await asks({"on_publish": {"url": url}}) == (url, "tv/published")
    assert await asks({"title": "News"}) == (url, "tv/published")
    assert await asks({"on_publish": None}) == ("", "tv/published")
    assert await asks({"on_publish": {"url": url}}) == (url, "tv/published")
    assert (await api.http.get(path)).json()["on_publish"] == {"url": url}
    reader = (await make_key(api, "jobs:read"))["key"]
    seen = await api.http.get(path, headers={"X-API-KEY": reader})
    assert "on_publish" not in seen.json()
    refused = await api.http.put(path, json={"on_publish": {"url": "http://10.0.0.1/"}})
    assert refused.json()["errors"][0]["source"] == {"pointer": "/on_publish/url"}


BAD: list[tuple[Any, str]] = [
    ({"url": "ftp://127.0.0.1/x"}, "/on_play/url"), ({"url": "http://10.0.0.1/auth"}, "/on_play/url"),
    ({"url": "http://169.254.169.254/latest"}, "/on_play/url"), ({"url": "http://u:p@127.0.0.1/x"}, "/on_play/url"),
    ({"url": "auth://other"}, "/on_play/url"), ({}, "/on_play/url"), ("http://127.0.0.1/", "/on_play"),
    ({"url": "http://127.0.0.1/", "max_sessions": 0}, "/on_play/max_sessions"),
    ({"url": "http://127.0.0.1/", "session_keys": ["mood"]}, "/on_play/session_keys/0"),
    ({"url": "http://127.0.0.1/", "allowed_countries": ["DE"]}, "/on_play/allowed_countries"),
    ({"url": "http://127.0.0.1/", "domains": ["a.example"]}, "/on_play/domains"),
]  # fmt: skip


async def test_wrong_settings_are_named_and_change_nothing(api: Gateway) -> None:
    for on_play, pointer in BAD:
        answer = await api.http.put("/streamer/api/v3/streams/tv/bad", json={"on_play": on_play})
        assert answer.status_code == 400, on_play
        assert answer.json()["errors"][0]["source"]["pointer"].startswith(pointer), on_play
    assert (await api.http.get("/streamer/api/v3/streams/tv/bad")).status_code == 404


async def test_the_operators_backend_is_asked_about_all_names(
    nats: NatsServer, tmp_path: Path, backend: Receiver, media: Path
) -> None:
    async with gateway(nats, tmp_path, on_play=backend.url("/all")) as api, httpx.AsyncClient() as client:
        stream = await recorded(api, client, 40)
        await stream.add(media, 0, 10)
        url = f"{api.parts.public.base}/{stream.name}/index.m3u8?token=opaque"

        async def plays() -> bool:
            return (await client.get(url)).status_code == 200

        await until(plays)
        assert backend.requests[0].path.startswith("/all?name=")
        backend.default = Reply(403)
        assert (await client.get(url.replace("opaque", "other"))).status_code == 403
