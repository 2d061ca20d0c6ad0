"""Live jobs over HTTP, against a real broker."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog

from shared.broker.kv import Bucket
from shared.broker.streams import EVENTS, SCHEDULES
from shared.broker.subjects import schedule_subject, subject_of
from shared.messages.live import JobStateChanged, LiveFinish
from shared.messages.sessions import PublisherStatus, SessionRecord, status_key
from shared.runtime.settings import Settings
from tests.support.api_gateway import Gateway, gateway, until
from tests.support.nats import NatsServer
from tests.support.shared_bus import new_id


async def announced(api: Gateway, job: str) -> list[JobStateChanged]:
    """Read the job's state changes from the stream of events."""
    js = api.js()
    found = []
    sequence = 1
    last = (await js.stream_info(EVENTS)).state.last_seq
    while sequence <= last:
        message = await js.get_msg(EVENTS, sequence, next=True, subject=f"{JobStateChanged.channel}.main.{job}")
        found.append(JobStateChanged.model_validate_json(message.data or b""))
        sequence = (message.seq or 0) + 1
        if len(found) > found[-1].revision and found[-1].revision == (await api.parts.jobs.get("main", job)).revision:
            break
    return found


async def test_a_name_is_enough_to_make_a_job_that_encoders_can_publish_to(api: Gateway) -> None:
    job = await api.job()
    assert job["state"] == "standby"
    assert job["stream_url"] == "rtmp://127.0.0.1:1935/live"
    assert len(job["stream_name"]) == 32
    assert job["srt_url"].startswith(f"srt://127.0.0.1:8890?streamid={job['id']}&passphrase=")
    assert (await api.http.get(f"/v1/jobs/{job['id']}")).json() == job
    stored = await api.parts.jobs.bucket.get(f"main.{job['id']}")
    assert stored is not None
    assert job["stream_name"] not in stored.value.model_dump_json(), "secrets are stored encrypted"


async def test_brightcove_s_own_fields_are_taken_and_given_back(api: Gateway) -> None:
    asked: dict[str, Any] = {
        "live_stream": True,
        "region": "us-west-2",
        "reconnect_time": "20",
        "event_length": 3600,
        "live_dvr_sliding_window_duration": 1800,
        "outputs": [{"label": "hls720p", "live_stream": True, "video_codec": "h264", "segment_seconds": 6.5}],
        "notifications": ["https://example.com/hook"],
        "id": "mine",
    }
    job = await api.job(**asked)
    assert job["outputs"] == asked["outputs"]
    assert job["notifications"] == asked["notifications"]
    assert (job["region"], job["reconnect_time"], job["event_length"]) == ("us-west-2", 20, 3600)
    assert job["live_dvr_sliding_window_duration"] == 1800
    assert job["id"] != "mine"


BAD_JOBS: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, "name"),
    ({"name": "x" * 513}, "name"),
    ({"reconnect_time": 0}, "reconnect_time"),
    ({"reconnect_time": 7201}, "reconnect_time"),
    ({"reconnect_time": 1.5}, "reconnect_time"),
    ({"event_length": -1}, "event_length"),
    ({"live_dvr_sliding_window_duration": 86_401}, "live_dvr_sliding_window_duration"),
    ({"live_stream": False}, "live_stream"),
    ({"static": "perhaps"}, "static"),
    ({"extra": "x" * 70_000}, "body"),
]


async def test_a_bad_field_is_named(api: Gateway) -> None:
    for body, field in BAD_JOBS:
        answer = await api.http.post("/v1/jobs", json=body)
        assert answer.status_code == 400, field
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["errors"][0]["field"] == field
        assert problem["error"] == problem["message"] == problem["detail"]
        assert problem["error_code"]


async def test_a_job_follows_its_sessions_and_says_so_once_per_state(api: Gateway) -> None:
    job = (await api.job(reconnect_time=5))["id"]
    session = await api.publish(job)
    await api.unpublish(job, session)
    await api.until_state(job, "disconnected")
    await api.publish(job, ago_ms=0)
    stopped = await api.http.put(f"/v1/jobs/{job}/stop")
    assert stopped.json()["state"] == "finishing"
    second = (await api.parts.jobs.get("main", job)).session
    assert second
    await api.unpublish(job, second)
    done = await api.until_state(job, "finished")
    states = [entry["state"] for entry in done["state_history"]]
    assert states == ["standby", "processing", "disconnected", "processing", "finishing", "finished"]
    events = await announced(api, job)
    assert [e.state for e in events] == states
    assert [e.previous for e in events] == [None, *states[:-1]]
    assert (await api.http.put(f"/v1/jobs/{job}/cancel")).status_code == 409


async def test_a_finish_command_ends_a_job_and_a_late_one_does_not(api: Gateway) -> None:
    job = (await api.job())["id"]
    first = await api.publish(job)
    await api.unpublish(job, first)
    await api.until_state(job, "disconnected")
    second = await api.publish(job, ago_ms=0)
    command = LiveFinish(account="main", event=job, session=first, reason="reconnect_time", at_ms=1)
    await api.parts.service.outbox.emit(command)
    await api.unpublish(job, second)
    await api.until_state(job, "disconnected")
    again = command.model_copy(update={"session": second})
    await api.parts.service.outbox.emit(again)
    done = await api.until_state(job, "finished")
    assert done["finished_at"] <= api.clock.now_ms()


async def test_a_session_that_never_reports_its_end_keeps_no_job_finishing(api: Gateway) -> None:
    job = (await api.job())["id"]
    session = await api.publish(job)
    await api.http.put(f"/v1/jobs/{job}/stop")
    scheduled = await api.js().get_last_msg(SCHEDULES, schedule_subject("main", f"stop-{job}"))
    body = json.loads(scheduled.data or b"")["body"]
    assert body["session"] == session
    await api.parts.jobs.finish(LiveFinish.model_validate(body))
    assert (await api.parts.jobs.get("main", job)).state == "finished"


async def test_a_gateway_killed_between_writing_and_telling_tells_when_it_is_back(api: Gateway) -> None:
    job = (await api.job())["id"]
    stored = await api.parts.jobs.bucket.get(f"main.{job}")
    assert stored is not None
    silent = stored.value.model_copy(
        update={
            "revision": 2,
            "state": "cancelled",
            "history": (
                *stored.value.history,
                stored.value.history[0].model_copy(update={"state": "cancelling"}),
                stored.value.history[0].model_copy(update={"state": "cancelled"}),
            ),
        }
    )
    await api.parts.jobs.bucket.replace(stored, silent)
    await api.parts.jobs.announce_all()
    await api.parts.jobs.announce_all()
    assert [e.state for e in await announced(api, job)] == ["standby", "cancelling", "cancelled"]
    assert (await api.parts.jobs.get("main", job)).announced == 2


async def test_an_event_about_no_job_is_buried_and_stops_nothing(api: Gateway) -> None:
    command = LiveFinish(account="main", event="0" * 32, reason="event_length", at_ms=1)
    await api.parts.service.outbox.emit(command)
    job = (await api.job())["id"]
    await api.parts.service.outbox.emit(command.model_copy(update={"event": job}))
    await api.until_state(job, "finished")
    assert subject_of(command)


async def test_lists_come_in_pages(api: Gateway) -> None:
    account = {"X-Reelay-Account": "pages"}
    made = [(await api.http.post("/v1/jobs", json={"name": str(n)}, headers=account)).json()["id"] for n in range(5)]
    seen: list[str] = []
    token = None
    while True:
        query = {"page_size": 2, "sort_dir": "asc"} | ({"start_token": token} if token else {})
        page = (await api.http.get("/v1/jobs", params=query, headers=account)).json()
        seen += [job["id"] for job in page["jobs"]]
        token = page["next_token"]
        if not token:
            break
    assert sorted(seen) == sorted(made)
    assert len(page["jobs"]) == 1
    for bad in ("0", "1001", "x"):
        assert (await api.http.get("/v1/jobs", params={"page_size": bad})).json()["errors"][0]["field"] == "page_size"
    assert (await api.http.get("/v1/jobs", params={"start_token": "?"})).status_code == 400


async def test_a_repeated_request_with_its_key_makes_one_job(api: Gateway) -> None:
    headers = {"Idempotency-Key": "abc-1"}
    answers = await asyncio.gather(
        *(api.http.post("/v1/jobs", json={"name": "once"}, headers=headers) for _ in range(4))
    )
    first = answers[0].json()
    assert all(a.status_code == 201 for a in answers)
    assert {a.json()["id"] for a in answers} == {first["id"]}
    assert {a.json()["stream_name"] for a in answers} == {first["stream_name"]}
    other = await api.http.post("/v1/jobs", json={"name": "other"}, headers=headers)
    assert other.json()["id"] != first["id"]
    assert (await api.http.post("/v1/jobs", json={}, headers={"Idempotency-Key": "x" * 256})).status_code == 400


async def test_another_account_s_job_is_not_there(api: Gateway) -> None:
    job = (await api.job())["id"]
    elsewhere = {"X-Reelay-Account": "other"}
    for method, path in (("GET", ""), ("PUT", "/stop"), ("PUT", "/cancel"), ("GET", "/vods")):
        answer = await api.http.request(method, f"/v1/jobs/{job}{path}", headers=elsewhere)
        assert answer.status_code == 404, path
        assert answer.json()["error_code"] == "RESOURCE_NOT_FOUND"
    for bad in ("nope", "0" * 32, "..%2f..", "A" * 32, job + "0"):
        assert (await api.http.get(f"/v1/jobs/{bad}")).status_code == 404
    assert (await until(lambda: api.http.get(f"/v1/jobs/{job}"))).status_code == 200


async def test_a_gateway_bound_to_every_address_names_one_that_can_be_reached(nats: NatsServer, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with gateway(nats, tmp_path, host="0.0.0.0") as api:
            job = await api.job()  # by way of base_url
            named = {urlsplit(job[name]).hostname for name in ("stream_url", "srt_url", "playback_url")}
            assert named == {urlsplit(api.parts.public.base).hostname}
            assert not named & {"0.0.0.0", None}
    assert urlsplit(Settings(host="::").base_url).hostname not in {"::", None}
    assert [line["log_level"] for line in logged if line["event"] == "gateway.public_url.guessed"] == ["warning"]


async def test_a_job_tells_of_its_publishers(api: Gateway) -> None:
    job = await api.job()
    assert (await api.http.get(f"/v1/jobs/{job['id']}")).json()["publishers"] == []
    bucket = Bucket(api.js, "sessions", PublisherStatus)
    now = api.parts.service.clock.now_ms()
    common: dict[str, Any] = {"account": "main", "event": job["id"], "protocol": "rtmp", "peer": "192.0.2.1:5000"}
    live = PublisherStatus(
        **common, session=new_id(), since_ms=now - 9000, updated_ms=now, video_codec="h264", width=1280, height=720,
        frame_rate=29.97, bitrate=3_000_000, last_keyframe_ms=now - 500, jumps=1, unsupported=("MP3 audio",),
        warnings=("MP3 audio cannot be recorded",),
    )  # fmt: skip
    over = PublisherStatus(**common, session=new_id(), since_ms=now - 99_000, updated_ms=now - 50_000,
                           ended_ms=now - 50_000, reason="silent")  # fmt: skip
    away = PublisherStatus(**common, session=new_id(), since_ms=now - 70_000, updated_ms=now - 40_000)
    for number, status in enumerate((over, away, live)):
        await bucket.create(status_key("main", job["id"], number), status)
    shown = (await api.http.get(f"/v1/jobs/{job['id']}")).json()["publishers"]
    assert [(p["session"], p["state"]) for p in shown] == [
        (live.session, "live"), (away.session, "lost"), (over.session, "ended"),
    ]  # fmt: skip
    assert shown[0]["frame_rate"] == 29.97
    assert (shown[0]["width"], shown[0]["height"], shown[0]["peer"]) == (1280, 720, "192.0.2.1:5000")
    assert shown[0]["unsupported"] == ["MP3 audio"]
    assert shown[2]["reason"] == "silent"
    assert shown[2]["video_codec"] is None
    [listed] = [j for j in (await api.http.get("/v1/jobs")).json()["jobs"] if j["id"] == job["id"]]
    assert listed["publishers"] is None
    assert [s.value.event for s in await Bucket(api.js, "sessions", SessionRecord).items("*.*.*")] == []
