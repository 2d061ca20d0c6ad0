"""Static entry points over HTTP, in both dialects: what they admit, what can be clipped of them, who is told."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from shared.messages.live import SessionStarted
from shared.messages.media import SegmentWritten
from shared.messages.sessions import EventClock, clock_key
from shared.security.webhooks import open_url
from tests.integration.gateway.test_gateway_ordered_clips import settled
from tests.support.api_gateway import Gateway, gateway, make_key
from tests.support.clipper_desk import read_all
from tests.support.nats import NatsServer


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, allow_nets="127.0.0.0/8") as running:
        running.http.headers["X-Reelay-Account"] = f"c-{uuid.uuid4().hex[:8]}"
        yield running


def account(api: Gateway) -> str:
    return str(api.http.headers["X-Reelay-Account"])


async def put(api: Gateway, job: str, how: str) -> dict[str, Any]:
    answer = await api.http.put(f"/v1/jobs/{job}/{how}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def record(api: Gateway, job: str) -> JobRecord:
    stored = await api.parts.jobs.bucket.get(f"{account(api)}.{job}")
    assert stored
    return stored.value


async def stream(api: Gateway, job: str, origin_s: int, seconds: int) -> None:
    """Publish for so long, from a moment of stream time, and leave."""
    now = api.clock.now_ms()
    clocks = Bucket(api.ingester.js, "sessions", EventClock)
    first = now - (origin_s + seconds) * 1000
    zero = await clocks.change(
        clock_key(account(api), job), lambda old: None if old else EventClock(first_frame_ms=first)
    )
    assert zero
    session = uuid.uuid4().hex
    await api.ingester.outbox.emit(
        SessionStarted(
            account=account(api), event=job, session=session, protocol="rtmp", at_ms=now, origin_ms=origin_s * 1000
        )
    )  # fmt: skip
    await api.until_state(job, "processing", account=account(api))
    folder = f"live/{job}/{session}/primary-1"
    await api.ingester.outbox.emit(
        SegmentWritten(
            account=account(api), event=job, session=session, sequence=0, key=f"{folder}/0.m4s",
            init_key=f"{folder}/init-0.mp4", start=0, duration=seconds * 90_000, timescale=90_000,
            origin_ms=origin_s * 1000, wall_start_ms=now - seconds * 1000, bytes=1, sha256="0" * 64, keyframes=(0,),
        )
    )  # fmt: skip
    await api.unpublish(job, session, account=account(api))
    await api.until_state(job, "disconnected", account=account(api))


async def clip(api: Gateway, job: str, **output: Any) -> httpx.Response:
    return await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": [output]})


async def test_it_is_activated_and_deactivated_again_and_again(api: Gateway) -> None:
    job = (await api.job(static=True))["id"]
    shown = (await api.http.get(f"/v1/jobs/{job}")).json()
    assert (shown["state"], shown["sep_state"], shown["active"]) == ("standby", "ready", False)
    assert not (await record(api, job)).accepts_publisher
    for round_ in range(3):
        for _ in range(2):
            on = await put(api, job, "activate")
            assert (on["state"], on["sep_state"], on["active"]) == ("waiting", "ready", True)
        assert (await record(api, job)).accepts_publisher
        await stream(api, job, round_ * 100, 20)
        for _ in range(2):
            off = await put(api, job, "deactivate")
            assert (off["state"], off["sep_state"], off["active"]) == ("standby", "ready", False)
        assert not (await record(api, job)).accepts_publisher
    ended = await put(api, job, "stop")
    assert (ended["state"], ended["sep_state"], ended["active"]) == ("finished", "finished", False)
    assert (await api.http.put(f"/v1/jobs/{job}/activate")).status_code == 409


async def test_an_activation_can_be_clipped_until_the_next_one(api: Gateway) -> None:
    """Its stream time counts from its own first frame, and so do the points that are shown."""
    job = (await api.job(static=True))["id"]
    early = await clip(api, job, duration=5)
    assert (early.status_code, early.json()["error_code"]) == (400, "STREAM_NOT_STARTED")
    await put(api, job, "activate")
    await stream(api, job, 0, 20)
    await put(api, job, "deactivate")
    first = await api.command((await clip(api, job, duration=5)).json()["vod_jobs"][0]["jvod_id"], account(api))
    assert (first.selection.start, first.selection.end, first.zero) == (15, 20, 0)
    await put(api, job, "activate")
    for output in ({"duration": 5}, {"stream_start_time": 1, "duration": 5}):
        gone = await clip(api, job, **output)
        assert (gone.status_code, gone.json()["error_code"]) == (400, "STREAM_NOT_STARTED")
    await stream(api, job, 3600, 30)
    made = (await clip(api, job, stream_start_time=4, stream_end_time=10)).json()["vod_jobs"][0]["jvod_id"]
    second = await api.command(made, account(api))
    assert (second.selection.start, second.selection.end, second.zero) == (3604, 3610, 3600)
    await api.write_clip(second, file=api.put_file(second, b"x", in_point="3604", out_point="3610", duration="6"))
    shown = (await api.http.get(f"/v1/vods/{made}")).json()
    assert (shown["asked"]["start"], shown["asked"]["end"]) == (4, 10)
    assert (shown["made"]["in_point"], shown["made"]["out_point"]) == (4, 10)
    last = await api.command((await clip(api, job, duration=60)).json()["vod_jobs"][0]["jvod_id"], account(api))
    assert (last.selection.start, last.selection.end) == (3600, 3630)
    assert (await clip(api, job, stream_start_time=40, duration=5)).status_code == 400
    before = await clip(api, job, start_time=api.clock.now_ms() // 1000 - 3000, end_time=api.clock.now_ms() // 1000)
    assert "created_at" in before.json()["error"]
    await put(api, job, "deactivate")
    api.clock.ahead_ms += 6 * 86_400_000
    assert (await clip(api, job, duration=5)).status_code == 201
    api.clock.ahead_ms += 2 * 86_400_000
    assert (await clip(api, job, duration=5)).json()["error_code"] == "RECORDING_EXPIRED"


async def test_clips_ordered_with_it_are_made_of_its_first_activation(api: Gateway) -> None:
    made = await api.job(static=True, outputs=[{"live_stream": False, "duration": 5}])
    ident = made["vod_jobs"][0]["jvod_id"]
    await put(api, made["id"], "activate")
    await stream(api, made["id"], 0, 20)
    assert (await api.command(ident, account(api))).after_live
    await put(api, made["id"], "deactivate")
    assert (await settled(api, ident)).selection.end == 20


async def test_an_activation_right_after_another_takes_no_ordered_clip_its_range(api: Gateway) -> None:
    made = await api.job(static=True, outputs=[{"live_stream": False, "duration": 5}])
    ident = made["vod_jobs"][0]["jvod_id"]
    await put(api, made["id"], "activate")
    await stream(api, made["id"], 0, 20)
    await put(api, made["id"], "deactivate")
    await put(api, made["id"], "activate")
    await stream(api, made["id"], 100, 30)
    found = await settled(api, ident)
    assert (found.refused, found.selection.start, found.selection.end) == ("", 15, 20)


async def test_in_their_dialect(api: Gateway) -> None:
    key = await make_key(api, "jobs:write", account=account(api), dialect="brightcove")
    async with httpx.AsyncClient(base_url=api.http.base_url, headers={"X-API-KEY": key["key"]}) as http:
        job = (await http.post("/v1/jobs", json={"live_stream": True, "static": True})).json()
        assert (job["static"], job["sep_state"]) == (True, "ready")
        for how, state in (("activate", "waiting"), ("deactivate", "standby"), ("activate", "waiting")):
            assert (await http.put(f"/v1/jobs/{job['id']}/{how}")).json() == {"id": job["id"]}
            shown = (await http.get(f"/v1/jobs/{job['id']}")).json()["job"]
            assert (shown["state"], shown["sep_state"]) == (state, "ready")
        plain = (await http.post("/v1/jobs", json={"live_stream": True})).json()
        wrong = await http.put(f"/v1/jobs/{plain['id']}/activate")
        assert (wrong.status_code, "static" in wrong.json()["message"]) == (409, True)
        missing = await http.put(f"/v1/jobs/{'0' * 32}/activate")
        assert (missing.status_code, missing.json()["error_code"]) == (404, "NOT_FOUND")


async def test_each_change_is_an_event_that_names_the_job_s_receivers(api: Gateway) -> None:
    told = ["http://user:word@127.0.0.1:9/x?token=1", {"url": "http://127.0.0.1:9/y", "event": "output_finished"}]
    made = await api.job(static=True, notifications=told, outputs=[{"live_stream": False, "duration": 5}])
    assert made["notifications"] == [
        "http://***@127.0.0.1:9/x?***",
        {"url": "http://127.0.0.1:9/y", "event": "output_finished"},
    ]
    await put(api, made["id"], "activate")
    await put(api, made["id"], "deactivate")
    events = [body for _, body in await read_all(api.js(), "EVENTS", f"live.job.state_changed.*.{made['id']}")]
    assert [(one["state"], one["sep_state"]) for one in events] == [
        ("standby", "ready"), ("waiting", "ready"), ("standby", "ready"),
    ]  # fmt: skip
    vault = api.parts.service.vault
    named = [(open_url(vault, one["url"]), one["event"], one["form"]) for one in events[-1]["notifications"]]
    assert named == [
        ("http://user:word@127.0.0.1:9/x?token=1", "state_changed", "standard"),
        ("http://127.0.0.1:9/y", "output_finished", "standard"),
    ]
    assert "token" not in (await record(api, made["id"])).model_dump_json()
    ordered = await api.command(made["vod_jobs"][0]["jvod_id"], account(api))
    assert [(open_url(vault, one.url), one.event) for one in ordered.notifications] == [
        ("http://127.0.0.1:9/y", "output_finished")
    ]
    bad = await api.http.post("/v1/jobs", json={"notifications": ["ftp://127.0.0.1/"]})
    assert (bad.status_code, bad.json()["error"].split(":")[0]) == (400, "notifications[0].url")


async def test_receivers_may_want_a_token(api: Gateway) -> None:
    asked = {
        "credential_label": "tokens", "credential_type": "oauth", "credential_public": "client",
        "credential_private": "secret", "oauth_settings": {"url": "http://127.0.0.1:9/token"}, "host": "127.0.0.1",
    }  # fmt: skip
    stored = await api.http.post("/v1/credentials", json=asked)
    assert stored.status_code == 201, stored.text
    told = {"url": "http://127.0.0.1:9/x", "credentials": "tokens"}
    job = (await api.job(notifications=[told]))["id"]
    (named,) = (await record(api, job)).notifications
    assert named.credentials == stored.json()["credential_id"]
    wrong = {
        "are for 127.0.0.1 alone": {**told, "url": "http://127.0.0.2:9/x"},
        "without user and password": {**told, "url": "http://a:b@127.0.0.1:9/x"},
        "there are no credentials": {**told, "credentials": "others"},
    }
    for why, one in wrong.items():
        answer = await api.http.post("/v1/jobs", json={"notifications": [one]})
        assert (answer.status_code, why in answer.json()["error"]) == (400, True), answer.text
