"""Event sinks of the streamer API over HTTP."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_gateway import Gateway, gateway, make_key, with_key
from tests.support.nats import NatsServer

SINKS = "/streamer/api/v3/event_sinks"
URL = "https://example.com/events"


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, secret_key="the same for each test here") as running:
        running.http.headers["X-Reelay-Account"] = f"a{uuid.uuid4().hex[:12]}"
        yield running


async def answered(api: Gateway, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await api.http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_a_sink_is_made_merged_shown_and_removed(api: Gateway) -> None:
    body = {
        "name": "my_sink", "url": URL, "only": [{"event": ["dvr_mp4_export_ready"], "media": ["cam*"]}],
        "except": [{"event": ["source_*"]}], "level": "info", "throttle_delay": 1, "resend_limit": 1000,
        "extra": {"site": "north"},
    }  # fmt: skip
    made = await answered(api, "PUT", f"{SINKS}/my_sink", body)
    assert {key: made[key] for key in body} == body
    assert await answered(api, "PUT", f"{SINKS}/my_sink", made) == made
    merged = await answered(api, "PUT", f"{SINKS}/my_sink", {"except": None, "url": f"{URL}/2", "level": "debug"})
    assert "except" not in merged
    assert (merged["url"], merged["level"], merged["only"]) == (f"{URL}/2", "debug", body["only"])
    assert await answered(api, "GET", f"{SINKS}/my_sink") == merged
    assert (await answered(api, "GET", SINKS))["event_sinks"] == [merged]
    (webhook,) = (await answered(api, "GET", "/v1/webhooks"))["webhooks"]
    assert (webhook["id"], webhook["url"], webhook["events"]) == (
        merged["reelay"]["webhook"], f"{URL}/2", ["clips.state_changed"],
    )  # fmt: skip
    events = (await answered(api, "GET", f"{SINKS}/my_sink/events"))["events"]
    assert [one["event"] for one in events] == [
        f"dvr_mp4_export_{name}" for name in ("aborted", "failed", "ready", "start")
    ]
    bare = await answered(api, "PUT", f"{SINKS}/my_sink", {"$reset": True, "url": URL})
    assert bare == {"name": "my_sink", "url": URL, "reelay": merged["reelay"]}
    await answered(api, "DELETE", f"{SINKS}/my_sink", status=204)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        await answered(api, method, f"{SINKS}/my_sink{path}", status=404)
    assert (await answered(api, "GET", SINKS))["event_sinks"] == []


async def test_what_is_wrong_is_named(api: Gateway) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "/url"),
        ({"url": "log:///var/log/x"}, "/url"),
        ({"url": "http://127.0.0.1/"}, "/url"),
        ({"url": URL, "only": {"event": ["x"]}}, "/only"),
        ({"url": URL, "only": [{}]}, "/only/0"),
        ({"url": URL, "only": [{"event": "x"}]}, "/only/0/event"),
        ({"url": URL, "except": [{"event": []}]}, "/except/0/event"),
        ({"url": URL, "extra": 5}, "/extra"),
    ]
    for body, field in cases:
        refused = await answered(api, "PUT", f"{SINKS}/s", body, 400)
        assert refused["errors"][0]["source"] == {"pointer": field}, body
    await answered(api, "PUT", f"{SINKS}/a%20b", {"url": URL}, 400)
    assert (await answered(api, "GET", SINKS))["event_sinks"] == []


async def test_sinks_need_the_scope_of_webhooks(api: Gateway) -> None:
    for scope, status in (("webhooks", 200), ("jobs:write", 403)):
        key = (await make_key(api, scope))["key"]
        assert (await with_key(api, key, "GET", SINKS)).status_code == status
        assert (await with_key(api, key, "PUT", f"{SINKS}/s", json={"url": URL})).status_code == status
