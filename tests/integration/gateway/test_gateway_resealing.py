"""A change of the secret key: with the old one named, all still opens, and the gateway seals its own records anew."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import httpx

from services.gateway.facades.kaltura.entry_fields import Settings
from services.gateway.identity.resealing import KEPT, Resealing
from shared.broker.kv import Bucket
from shared.messages.base import Record
from shared.messages.subscriptions import SubscriptionContext
from shared.security.secrets import Vault
from shared.security.webhooks import SEALED, open_url, seal_url
from tests.support.api_gateway import Gateway, gateway, until
from tests.support.nats import NatsServer

OLD, NEW = "the key of yesterday", "the key of today"


async def filled(api: Gateway, account: str) -> dict[str, Any]:
    """Store a secret of each kind, and return what is seen of them."""
    headers = {"X-Reelay-Account": account}

    async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await api.http.post(path, json=body, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        return dict(answer.json())

    s3 = {
        "credential_label": "bucket", "credential_type": "s3", "credential_public": "u", "credential_private": "secret",
        "session_token": "token",
    }  # fmt: skip
    await post("/v1/credentials", s3)
    token_url = {"oauth_settings": {"url": "https://example.com/token"}}
    await post(
        "/v1/credentials", s3 | token_url | {"credential_label": "o", "credential_type": "oauth", "session_token": ""}
    )
    await post("/v1/webhooks", {"url": "https://example.com/hook?token=x"})
    await post("/v1/jobs", {"name": "match", "notifications": [{"url": "https://example.com/told?token=x"}]})
    await post("/v1/cdn-accounts", {"account": account})
    partner = await post("/v1/kaltura-partners", {"account": account})
    await api.parts.entries.add(account, Settings(partner=partner["partner_id"]))
    stream = {
        "title": "News", "inputs": [{"url": "rtsp://user:secret@camera.example.com/1"}],
        "on_publish": {"url": "https://example.com/publish?secret=x"},
    }  # fmt: skip
    answer = await api.http.put("/streamer/api/v3/streams/news/1", json=stream, headers=headers)
    assert answer.status_code == 200, answer.text
    vault = api.parts.service.vault
    document = {"srcurl": seal_url(vault, "https://example.com/a"), "list": [seal_url(vault, "b"), 1], "id": "x"}
    context = SubscriptionContext(account=account, context=f"{uuid.uuid4().hex}.{'0' * 16}", document=document)
    await Bucket(api.js, "contexts", SubscriptionContext).create(context.key, context)
    return await seen(api.http, account)


async def seen(http: httpx.AsyncClient, account: str) -> dict[str, Any]:
    headers = {"X-Reelay-Account": account}
    found = {
        path: (await http.get(f"/v1/{path}", headers=headers)).json() for path in ("credentials", "webhooks", "jobs")
    }
    streams = (await http.get("/streamer/api/v3/streams", headers=headers)).json()["streams"]
    found["streams"] = [one["config_on_disk"] for one in streams if one["name"] == "news/1"]
    return found | {"jobs": [(job["stream_name"], job["srt_url"]) for job in found["jobs"]["jobs"]]}


async def entry_secrets(api: Gateway) -> list[str]:
    """Return the secrets of all partners, and the tokens of their entries."""
    records, entries = await api.parts.partners.all(), api.parts.entries
    aliases = [alias for record in records for alias in await entries.all_of(record.account)]
    tokens = [await entries.token(await entries.of(alias)) for alias in aliases]
    assert tokens
    return [*(api.parts.partners.secret(record) for record in records), *tokens]


async def tokens(api: Gateway) -> list[str]:
    """List all that is stored sealed."""
    found: list[str] = []
    for kept in KEPT:
        for stored in await Bucket(api.js, kept.bucket, kept.model).items("" if kept.pattern == ">" else kept.pattern):
            fields = stored.value.model_dump()
            found += [fields[name] for name in kept.purposes if fields[name]]
            text = json.dumps([fields[name] for name in kept.urls])
            found += [part.split('"')[0] for part in text.split(SEALED)[1:]]
    return found


def with_key(key: str, *older: str) -> dict[str, Any]:
    return {"secret_key": key, "secret_keys_old": ",".join(older), "admin_key": "an-admin-key-of-many-characters-0123"}


async def test_all_that_the_gateway_stores_is_sealed_anew(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, **with_key(OLD)) as api:
        before = await filled(api, "reseal")
        secrets = await entry_secrets(api)
        assert all(Vault(OLD.encode()).is_current(token) for token in await tokens(api))
    new = Vault(NEW.encode())
    async with gateway(nats, tmp_path, **with_key(NEW, OLD)) as api:

        async def all_new() -> bool:
            return all(new.is_current(token) for token in await tokens(api))

        await until(all_new)
        assert len(await tokens(api)) >= 16
        assert await entry_secrets(api) == secrets
        assert await seen(api.http, "reseal") == before
        revisions = await marks(api)
        again = [Resealing(api.js, api.parts.service.vault) for _ in range(2)]
        await asyncio.gather(*(one.once() for one in again))  # delivered twice, by two gateways
        assert [(one.anew, one.unreadable) for one in again] == [(0, 0), (0, 0)]
        assert await marks(api) == revisions
    async with gateway(nats, tmp_path, **with_key(NEW)) as api:  # the old key is gone
        assert await seen(api.http, "reseal") == before
        assert await entry_secrets(api) == secrets
        (context,) = [s.value for s in await Bucket(api.js, "contexts", SubscriptionContext).items("reseal")]
        assert open_url(new, context.document["srcurl"]) == "https://example.com/a"
        assert (open_url(new, context.document["list"][0]), context.document["list"][1]) == ("b", 1)


async def marks(api: Gateway) -> list[int]:
    return [(await Bucket(api.js, kept.bucket, Record).mark()).last for kept in KEPT]


async def test_two_at_once_and_a_change_meanwhile_lose_nothing(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, **with_key(NEW)) as api:
        old = Vault(OLD.encode())
        stored = api.parts.credentials
        labels = [f"c{n}" for n in range(12)]
        for label in labels:
            await stored.create("busy", label, {"type": "ftp", "public": "u", "private": f"secret of {label}"})
        bucket = Bucket(api.js, KEPT[0].bucket, KEPT[0].model)
        for one in await bucket.items("busy"):
            name = one.value.model_dump()["name"]
            await bucket.replace(one, one.value.model_copy(update={"secret": old.encrypt(name, "credential")}))
        both = Vault(NEW.encode(), [OLD.encode()])
        changes = [stored.change("busy", label, {"tls": "explicit"}) for label in labels[:6]]
        readers = [Resealing(api.js, both) for _ in range(2)]
        api.parts.credentials._vault = both
        await asyncio.gather(*(one.once() for one in readers), *changes)
        await Resealing(api.js, both).once()
        for one in await bucket.items("busy"):
            fields = one.value.model_dump()
            assert Vault(NEW.encode()).decrypt(fields["secret"], "credential") == fields["name"]
            assert fields["tls"] == ("explicit" if fields["name"] in labels[:6] else "")


async def test_what_no_key_opens_is_counted_and_stays(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, **with_key("a key that is lost")) as api:
        await filled(api, "lost")
    async with gateway(nats, tmp_path, **with_key(NEW)) as api:
        resealing = Resealing(api.js, Vault(NEW.encode(), [b"not that one"]))
        before = await tokens(api)
        path, headers = "/streamer/api/v3/streams/news/1", {"X-Reelay-Account": "lost"}
        refused = await api.http.put(path, json={"comment": "c"}, headers=headers)  # would wipe out the rest
        assert (refused.status_code, "$reset" in refused.text) == (409, True)
        await resealing.once()
        assert resealing.unreadable >= 6
        assert sorted(await tokens(api)) == sorted(before)
        replaced = await api.http.put(path, json={"$reset": True, "title": "New"}, headers=headers)
        assert replaced.json()["config_on_disk"] == {"name": "news/1", "title": "New"}
