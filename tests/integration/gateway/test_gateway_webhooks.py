"""Webhooks' registration and deliveries over HTTP."""

import base64
import json
import uuid
from typing import Any

from shared.broker.kv import Bucket
from shared.broker.streams import commands_of
from shared.messages.notifications import Attempt, DeliveryRecord, NotificationReplay, WebhookEndpoint
from shared.security.webhooks import VAULT_PURPOSE, account_secret
from tests.support.api_gateway import Gateway


async def make(api: Gateway, **fields: Any) -> dict[str, Any]:
    answer = await api.http.post("/v1/webhooks", json={"url": "https://Example.com/hook?t=1", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_webhook_s_secret_is_told_once_and_stored_encrypted(api: Gateway) -> None:
    made = await make(api, events=["clips.*", "live.job.state_changed"], description="ours")
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) == 32
    assert made["url"] == "https://example.com/hook?t=1"
    shown = (await api.http.get(f"/v1/webhooks/{made['id']}")).json()
    assert "secret" not in shown
    assert shown == {k: v for k, v in made.items() if k != "secret"}
    stored = await Bucket(api.js, "webhooks", WebhookEndpoint).get(f"main.{made['id']}")
    assert stored is not None
    assert made["secret"] not in stored.value.model_dump_json()
    assert "example.com" not in stored.value.model_dump_json()
    assert api.parts.service.vault.decrypt(stored.value.secret, VAULT_PURPOSE) == made["secret"]
    renewed = (await api.http.post(f"/v1/webhooks/{made['id']}/secret")).json()
    assert renewed["secret"] != made["secret"]
    one_off = (await api.http.get("/v1/webhooks/notification-secret")).json()["secret"]
    assert one_off == account_secret(api.parts.service.vault, "main")


async def test_webhooks_are_listed_changed_and_removed(api: Gateway) -> None:
    made = await make(api)
    changed = await api.http.put(f"/v1/webhooks/{made['id']}", json={"enabled": False, "events": ["exports.failed"]})
    assert changed.json()["enabled"] is False
    assert changed.json()["events"] == ["exports.failed"]
    assert changed.json()["url"] == made["url"]
    assert made["id"] in [w["id"] for w in (await api.http.get("/v1/webhooks")).json()["webhooks"]]
    elsewhere = {"X-Reelay-Account": "other"}
    assert (await api.http.get("/v1/webhooks", headers=elsewhere)).json() == {"webhooks": []}
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/secret")):
        url = f"/v1/webhooks/{made['id']}{path}"
        assert (await api.http.request(method, url, headers=elsewhere, json={})).status_code == 404
    assert (await api.http.delete(f"/v1/webhooks/{made['id']}")).status_code == 204
    assert (await api.http.delete(f"/v1/webhooks/{made['id']}")).status_code == 404


async def test_bad_webhooks_name_their_field(api: Gateway) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "http://127.0.0.1/x"}, "url"),
        ({"url": "http://[::1]/x"}, "url"),
        ({"url": "http://10.0.0.1/x"}, "url"),
        ({"url": "gopher://example.com"}, "url"),
        ({"url": "http://user:pass@example.com"}, "url"),
        ({"url": "https://example.com/" + "x" * 3000}, "url"),
        ({"url": "https://example.com", "events": []}, "events"),
        ({"url": "https://example.com", "events": ["nothing.here"]}, "events[0]"),
        ({"url": "https://example.com", "events": ["*", "clips.create"]}, "events[1]"),
        ({"url": "https://example.com", "events": ["x*"]}, "events[0]"),
        ({"url": "https://example.com", "enabled": "maybe"}, "enabled"),
    ]
    for body, field in cases:
        answer = await api.http.post("/v1/webhooks", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field), body
    private = await api.http.post("/v1/webhooks", json={"url": "http://10.0.0.1/x"})
    assert "REELAY_ALLOW_NETS" in private.json()["detail"]


async def test_deliveries_are_listed_and_replayed(api: Gateway) -> None:
    endpoint, clip = uuid.uuid4().hex, uuid.uuid4().hex
    bucket = Bucket(api.js, "deliveries", DeliveryRecord)
    made = [
        DeliveryRecord.model_validate(
            {
                "account": "main", "delivery": uuid.uuid4().hex, "lane": uuid.uuid4().hex, "position": n,
                "endpoint": endpoint if n else None, "url": "https://example.com/x?token=geheim",
                "type": "clips.state_changed",
                "resource": clip, "payload": {"n": n}, "state": state, "created_ms": 1000 + n, "deadline_ms": 9000,
                "attempts": [Attempt(at_ms=2000 + n, status=500, error="answered 500")],
            }
        )
        for n, state in enumerate(("pending", "delivered", "dead"))
    ]  # fmt: skip
    for record in made:
        await bucket.create(f"main.{record.delivery}", record)

    async def listed(**query: Any) -> list[str]:
        answer = await api.http.get("/v1/webhooks/deliveries", params={"sort_dir": "asc", **query})
        assert answer.status_code == 200, answer.text
        assert "geheim" not in answer.text
        return [d["id"] for d in answer.json()["deliveries"]]

    assert await listed() == [d.delivery for d in made]
    assert await listed(state="dead") == [made[2].delivery]
    assert await listed(webhook_id=endpoint) == [made[1].delivery, made[2].delivery]
    assert await listed(resource=clip, page_size=1) == [made[0].delivery]
    assert await listed(resource="0" * 32) == []
    one = (await api.http.get(f"/v1/webhooks/deliveries/{made[2].delivery}")).json()
    assert one["attempts"][0]["status"] == 500
    again = await api.http.post(f"/v1/webhooks/deliveries/{made[2].delivery}/replay")
    assert again.status_code == 202
    sent = await api.js().get_last_msg(commands_of("notifier"), f"{NotificationReplay.channel}.main.{made[2].lane}")
    assert json.loads(sent.data or b"")["delivery"] == made[2].delivery
    assert (await api.http.post(f"/v1/webhooks/deliveries/{'0' * 32}/replay")).status_code == 404
    assert (await api.http.get("/v1/webhooks/deliveries", params={"state": "lost"})).status_code == 400
