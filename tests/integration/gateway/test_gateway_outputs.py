"""Outputs of live jobs over HTTP: what is accepted, what is shown; the restreamer's part is played by hand."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.broker.kv import Bucket
from shared.messages.outputs import OutputState, output_state
from shared.messages.restreams import PlayoutRecord, RestreamRecord, TargetState, TargetStatus
from shared.security.webhooks import open_url
from tests.support.api_gateway import Gateway, gateway, make_key
from tests.support.nats import NatsServer
from tests.support.shared_bus import new_id

URL = "rtmp://127.0.0.1:1936/live/secret-key"


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, allow_nets="127.0.0.0/8") as running:
        running.http.headers["X-Reelay-Account"] = f"c-{uuid.uuid4().hex[:8]}"
        yield running


def account(api: Gateway) -> str:
    return str(api.http.headers["X-Reelay-Account"])


async def create(api: Gateway, job: str, url: str = URL, **headers: str) -> httpx.Response:
    return await api.http.post(f"/v1/jobs/{job}/rtmpouts", json={"url": url, "label": "site"}, headers=headers)


async def listed(api: Gateway, job: str) -> list[dict[str, Any]]:
    return list((await api.http.get(f"/v1/jobs/{job}/rtmpouts")).json()["rtmp_outs"])


async def taken_up(api: Gateway, ident: str, state: str, target: TargetState, **changes: Any) -> RestreamRecord:
    """Write the records of an output as a restreamer does."""
    key = f"{account(api)}.{ident}"
    known = await api.parts.restreams.find(account(api), ident)
    record = RestreamRecord.model_validate(known.record.model_dump() | {"state": state, **changes})
    await Bucket(api.js, "restreams", RestreamRecord).change(key, lambda _: record)
    await api.js().purge_stream("COMMANDS_RESTREAMER", subject=f"restreams.command.{key}")
    (named,) = record.spec.targets
    status = TargetStatus(
        target=named.target, shown=named.shown, state=target, since_ms=1, error="why", connects=2, sent_bytes=3
    )
    playout = PlayoutRecord(
        account=account(api), restream=ident, run=record.run, holder="x", cursor={"item": 0}, at_ms=1, targets=(status,)
    )  # type: ignore[arg-type]
    await Bucket(api.js, "playouts", PlayoutRecord).change(key, lambda _: playout)
    return record


async def test_it_is_ordered_shown_and_stopped(api: Gateway) -> None:
    told = {"url": "http://127.0.0.1:9/x", "event": "rtmp_output_state_changed"}
    job = (await api.job(notifications=[told, "http://127.0.0.1:9/y"]))["id"]
    other = (await api.job())["id"]
    answer = await create(api, job)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["state"], made["url"], made["label"]) == ("starting", "rtmp://127.0.0.1:1936/live/***", "site")
    assert (await listed(api, job), await listed(api, other)) == ([made], [])
    record = await taken_up(api, made["rtmp_out_id"], "playing", "live", reached=("0" * 16,), started_ms=5)
    assert record.spec.items[0].source.kind == "job"
    assert record.spec.output is not None
    vault = api.parts.service.vault
    assert [open_url(vault, one.url) for one in record.spec.output.notifications] == ["http://127.0.0.1:9/x"]
    assert "secret-key" not in record.model_dump_json()
    (shown,) = await listed(api, job)
    assert (shown["state"], shown["connects"], shown["sent_bytes"], shown["stream_start"]) == ("connected", 2, 3, 5)
    assert (await api.http.put(f"/v1/jobs/{other}/rtmpouts/{made['rtmp_out_id']}/stop")).status_code == 404
    for _ in range(2):
        assert (await api.http.put(f"/v1/jobs/{job}/rtmpouts/{made['rtmp_out_id']}/stop")).status_code == 200
    await taken_up(api, made["rtmp_out_id"], "stopped", "removed")
    assert [one["state"] for one in await listed(api, job)] == ["finished"]
    assert (await api.http.put(f"/v1/jobs/{job}/rtmpouts/{made['rtmp_out_id']}/stop")).status_code == 200


async def test_a_repeated_request_is_one_output(api: Gateway) -> None:
    job = (await api.job())["id"]
    keyed = {"Idempotency-Key": "x"}
    first, second = [(await create(api, job, **keyed)).json() for _ in range(2)]
    assert first == second
    assert len(await listed(api, job)) == 1
    await create(api, job)
    both = [one["rtmp_out_id"] for one in await listed(api, job)]
    assert (both[0], len(both)) == (first["rtmp_out_id"], 2)


BAD = [
    "", "http://127.0.0.1/live/x", "rtmp://127.0.0.1/only", "rtmp://10.0.0.1/live/x", "rtmp://169.254.169.254/a/b",
    "rtmp://user@127.0.0.1/a/b", "srt://10.0.0.1:9000?streamid=x", "file:///etc/passwd",
]  # fmt: skip


async def test_what_is_refused(api: Gateway) -> None:
    job = (await api.job())["id"]
    for url in BAD:
        answer = await create(api, job, url)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "url"), url
    assert (await create(api, new_id())).status_code == 404
    key = await make_key(api, "jobs:read", account=account(api))
    denied = await api.http.post(f"/v1/jobs/{job}/rtmpouts", json={"url": URL}, headers={"X-API-KEY": key["key"]})
    assert denied.status_code == 403
    assert await listed(api, job) == []
    await api.http.put(f"/v1/jobs/{job}/stop")
    assert (await create(api, job)).status_code == 409


async def test_in_their_dialect_of_a_static_job(api: Gateway) -> None:
    key = await make_key(api, "jobs:write", account=account(api), dialect="brightcove")
    async with httpx.AsyncClient(base_url=api.http.base_url, headers={"X-API-KEY": key["key"]}) as http:
        job = (await http.post("/v1/jobs", json={"live_stream": True, "static": True})).json()["id"]
        url = "srt://127.0.0.1:9000?streamid=publish-abcdef&passphrase=0123456789"
        made = (await http.post(f"/v1/jobs/{job}/rtmpouts", json={"url": url, "output_label": "hls"})).json()
        assert made["connection_info"] == {
            "host": "127.0.0.1", "port": 9000, "application": None, "streamName": "********ef",
        }  # fmt: skip
        assert (made["state"], made["waiting_for_start"], made["duration_history"]) == ("starting", True, [])
        assert (await http.get(f"/v1/jobs/{job}/rtmpouts")).json() == [made]
        await http.put(f"/v1/jobs/{job}/activate")
        assert [one["waiting_for_start"] for one in (await http.get(f"/v1/jobs/{job}/rtmpouts")).json()] == [False]
        missing = await http.put(f"/v1/jobs/{job}/rtmpouts/{new_id()}/stop")
        assert (missing.status_code, missing.json()["error_code"]) == (404, "NOT_FOUND")


STATES: list[tuple[str, TargetState | None, bool, OutputState]] = [
    ("starting", None, False, "starting"),
    ("starting", "connecting", False, "starting"),
    ("starting", "ready", False, "starting"),
    ("starting", "waiting", False, "starting"),
    ("starting", "failed", False, "error"),
    ("playing", "live", True, "connected"),
    ("playing", "waiting", True, "disconnected"),
    ("playing", "connecting", True, "disconnected"),
    ("playing", "failed", True, "disconnected"),
    ("stopped", "removed", True, "finished"),
    ("ended", "removed", True, "finished"),
    ("failed", "failed", False, "error"),
]


@pytest.mark.parametrize(("run", "target", "reached", "expected"), STATES)
def test_the_state_of_an_output(run: str, target: TargetState | None, reached: bool, expected: OutputState) -> None:
    status = target and TargetStatus(target="0" * 16, shown="x", state=target, since_ms=1)
    assert output_state(run, status, reached=reached) == expected
