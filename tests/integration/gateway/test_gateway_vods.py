"""Clips over HTTP, against a real broker; the clipper's part is played by hand."""

import json
import re
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.broker.streams import commands_of
from shared.messages.clips import ClipCancel, ClipCreate
from shared.messages.live import LiveFinish
from shared.messages.ranges import Gap
from shared.security.webhooks import open_url
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, allow_nets="127.0.0.0/8") as running:
        yield running


async def live_job(api: Gateway) -> str:
    job = str((await api.job())["id"])
    await api.publish(job)
    return job


async def ask(api: Gateway, job: str, *outputs: dict[str, Any], **more: Any) -> httpx.Response:
    return await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": list(outputs), **more})


async def clip_of(api: Gateway, job: str, **output: Any) -> ClipCreate:
    answer = await ask(api, job, {"stream_start_time": 4, "duration": 10, **output})
    assert answer.status_code == 201, answer.text
    return await api.command(answer.json()["vod_jobs"][0]["jvod_id"])


async def test_a_request_fans_out_to_commands_that_are_exact(api: Gateway) -> None:
    job = await live_job(api)
    body = (
        '{"live_job_id": "JOB", "outputs": ['
        '{"label": "a", "stream_start_time": 4.033333333, "stream_end_time": "14.066666666"},'
        '{"label": "b", "duration": 10, "notifications": ["http://127.0.0.1:9/x", {"url": "http://example.com/y",'
        '"event": "output_finished"}]}], "notifications": ["http://127.0.0.1:9/x"]}'
    )
    answer = await api.http.post("/v1/vods", content=body.replace("JOB", job))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["live_job_id"] == job
    assert [v["label"] for v in made["vod_jobs"]] == ["a", "b"]
    first, second = [await api.command(v["jvod_id"]) for v in made["vod_jobs"]]
    assert str(first.selection.start) == "4033333333/1000000000"
    assert first.selection.clock == "stream"
    assert first.live
    assert second.selection.clock == "wall"
    assert "example.com" not in second.model_dump_json()
    assert [(open_url(api.parts.service.vault, n.url), n.event) for n in second.notifications] == [
        ("http://127.0.0.1:9/x", "state_changed"),
        ("http://example.com/y", "output_finished"),
    ]
    assert len(first.notifications) == 1
    assert first.destinations[0].file_name == f"a-{first.clip}.mp4"


async def test_a_clip_of_a_static_job_between_two_streams_waits_for_no_later_one(api: Gateway) -> None:
    job = str((await api.job(static=True))["id"])
    await api.parts.jobs.activate("main", job)
    session = await api.publish(job, ago_ms=0)
    api.clock.ahead_ms += 60_000
    await api.unpublish(job, session)
    await api.until_state(job, "disconnected")
    over = LiveFinish(account="main", event=job, session=session, reason="reconnect_time", at_ms=api.clock.now_ms())
    await api.parts.jobs.finish(over)
    await api.until_state(job, "standby")
    command = await clip_of(api, job, stream_start_time=4, duration=3600, wait=True)
    assert command.live  # so that the clipper ends it at the request
    assert not command.wait


async def test_a_clip_is_seen_from_its_request_to_its_end(api: Gateway) -> None:
    job = await live_job(api)
    command = await clip_of(api, job, label="goal")
    path = f"/v1/vods/{command.clip}"
    pending = (await api.http.get(path)).json()
    assert pending["jvod_state"] == "waiting"
    assert pending["jvod_url"] is None
    assert pending["asked"] == {"clock": "stream", "start": 4.0, "end": 14.0, "duration": 10.0}
    early = await api.http.get(f"{path}/media.mp4")
    assert (early.status_code, early.json()["error_code"]) == (404, "NOT_READY")
    await api.write_clip(command, file=api.put_file(command, b"fast"))
    fast = (await api.http.get(path)).json()
    assert (fast["jvod_state"], fast["accuracy"], fast["method"]) == ("processing", "segment", "copy")
    assert fast["made"]["frames"] == 300
    exact = api.put_file(command, b"exact!", "frame", method="smart", sha256="a" * 64)
    gap = Gap(start=Fraction(5), duration=Fraction(1, 2), track="video")
    await api.write_clip(command, file=exact, state="finished", finished_ms=api.clock.now_ms(), gaps=(gap,))
    done = (await api.http.get(path)).json()
    assert done["jvod_url"] == fast["jvod_url"]
    assert (done["accuracy"], done["sha256"], done["bytes"]) == ("frame", "a" * 64, 6)
    assert done["gaps"] == [{"start": 5.0, "duration": 0.5, "track": "video"}]
    assert (await api.http.get(done["jvod_url"])).content == b"exact!"


BAD_OUTPUTS: list[tuple[dict[str, Any], str]] = [
    ({}, "outputs[0].duration"),
    ({"stream_start_time": 5, "stream_end_time": 4}, "outputs[0].stream_end_time"),
    ({"stream_start_time": -5, "stream_end_time": 4}, "outputs[0].stream_start_time"),
    ({"stream_start_time": 5, "end_time": 1_700_000_000}, "outputs[0].end_time"),
    ({"stream_start_time": 999_999, "duration": 5}, "outputs[0].stream_start_time"),
    ({"duration": "NaN"}, "outputs[0].duration"),
    ({"duration": None}, "outputs[0].duration"),
    ({"duration": 172_801}, "outputs[0].duration"),
    ({"stream_start_timecode": "01:10:18:15", "duration": 5}, "outputs[0].stream_start_timecode"),
    ({"stream_start_timecode": 1101815, "duration": 5}, "outputs[0].stream_start_timecode"),
    ({"stream_start_time": 5, "stream_end_timecode": "01:10:18:15"}, "outputs[0].stream_end_timecode"),
    ({"duration": 5, "url": "s3://bucket/file.mp4"}, "outputs[0].credentials"),
    ({"duration": 5, "videocloud": {"video": {"name": "x"}}}, "outputs[0].credentials"),
    ({"duration": 5, "label": 5}, "outputs[0].label"),
    ({"duration": 5, "notifications": ["http://169.254.169.254/x"]}, "outputs[0].notifications[0].url"),
    ({"duration": 5, "notifications": ["ftp://example.com/x"]}, "outputs[0].notifications[0].url"),
    ({"duration": 5, "notifications": [{"event": "finished"}]}, "outputs[0].notifications[0].url"),
    (
        {"duration": 5, "notifications": [{"url": "http://example.com", "credentials": "c"}]},
        "outputs[0].notifications[0].credentials",
    ),
    ({"duration": 5, "notifications": [f"http://example.com/{n}" for n in range(17)]}, "outputs[0].notifications"),
]


async def test_a_bad_output_is_named_and_nothing_is_cut(api: Gateway) -> None:
    job = await live_job(api)
    before = (await api.js().stream_info(commands_of("clipper"))).state.last_seq
    for output, field in BAD_OUTPUTS:
        answer = await ask(api, job, output)
        assert answer.status_code == 400, (field, answer.text)
        assert answer.json()["errors"][0]["field"] == field
    both = await ask(api, job, {"duration": 5}, {"duration": -5}, {"stream_start_time": 1})
    assert [e["field"] for e in both.json()["errors"]] == ["outputs[1].duration", "outputs[2].stream_end_time"]
    assert (await api.js().stream_info(commands_of("clipper"))).state.last_seq == before


async def test_requests_that_cannot_be_served_say_why(api: Gateway) -> None:
    job = await live_job(api)
    good = {"duration": 5}
    for body, status, code in (
        ({"outputs": [good]}, 400, "BAD_REQUEST"),
        ({"live_job_id": "", "outputs": [good]}, 400, "BAD_REQUEST"),
        ({"live_job_id": "nope", "outputs": [good]}, 404, "RESOURCE_NOT_FOUND"),
        ({"live_job_id": "0" * 32, "outputs": [good]}, 404, "RESOURCE_NOT_FOUND"),
        ({"live_job_id": job, "outputs": []}, 400, "BAD_REQUEST"),
        ({"live_job_id": job, "outputs": [good] * 101}, 400, "BAD_REQUEST"),
        ({"live_job_id": job, "outputs": [good, {"notifications": []}]}, 400, "BAD_REQUEST"),
        ([], 400, "BAD_REQUEST"),
    ):
        answer = await api.http.post("/v1/vods", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code), body
    empty = (await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": []})).json()
    assert empty["detail"] == "outputs: must have at least 1 entry"
    silent = (await api.job())["id"]
    answer = await ask(api, silent, good)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "STREAM_NOT_STARTED")
    answer = await api.http.post(f"/v1/jobs/{job}/vods", json={"live_job_id": silent, "outputs": [good]})
    assert answer.json()["errors"][0]["field"] == "live_job_id"


MALFORMED = [
    '{"live_job_id": "x", "outputs": [{"duration": 5}, "notifications": ["https://example.com"]]}',
    '{"live_job_id": "", "outputs": [{"duration": 30}],}',
    '{"live_job_id": "x", "outputs": [{"duration": NaN}]}',
    "",
    "\x00",
    '{"live_job_id": "x", "outputs": [{"duration": 5, "duration": 6}]}',
]


async def test_malformed_json_is_a_400_that_says_where(api: Gateway) -> None:
    for body in MALFORMED:
        answer = await api.http.post("/v1/vods", content=body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "MALFORMED_JSON")
        assert "column" in answer.json()["detail"] or re.search('NaN|"duration" comes twice', answer.json()["detail"])


async def test_a_clip_of_an_ended_job_counts_from_its_end_and_only_as_long_as_it_is_kept(api: Gateway) -> None:
    job = (await api.job())["id"]
    session = await api.publish(job)
    await api.unpublish(job, session)
    await api.until_state(job, "disconnected")
    ended_ms = (await api.parts.jobs.get("main", job)).media_end_ms
    api.clock.ahead_ms = 60_000
    while_away = await clip_of(api, job, stream_start_time=None, duration=10)
    assert while_away.selection.clock == "stream"
    assert while_away.selection.end * 1000 == ended_ms - api.parts.clips._bounds._first_frames[job]
    await api.http.put(f"/v1/jobs/{job}/stop")
    after = await clip_of(api, job, stream_start_time=None, duration=10)
    assert after.selection == while_away.selection
    assert not after.live
    api.clock.ahead_ms = 8 * 86_400_000
    answer = await ask(api, job, {"duration": 5})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "RECORDING_EXPIRED")


async def test_an_end_in_the_future_is_taken_with_wait(api: Gateway) -> None:
    job = await live_job(api)
    refused = await ask(api, job, {"start_time": api.clock.now_ms() // 1000 - 5, "end_time": 9_999_999_999})
    assert refused.status_code == 400
    command = await clip_of(api, job, duration=3600, wait=True)
    assert command.wait
    assert (await api.http.get(f"/v1/vods/{command.clip}")).json()["wait"]


async def test_clips_are_listed_filtered_and_paged_before_and_after_a_clipper_has_them(api: Gateway) -> None:
    job, other = await live_job(api), await live_job(api)
    commands = [await clip_of(api, job, label=f"c{n}") for n in range(4)]
    await clip_of(api, other)
    await api.write_clip(commands[0], state="finished", finished_ms=api.clock.now_ms())
    of_job = (await api.http.get(f"/v1/jobs/{job}/vods", params={"page_size": 1000})).json()["vod_jobs"]
    assert sorted(v["jvod_id"] for v in of_job) == sorted(c.clip for c in commands)

    async def listed(**query: Any) -> list[str]:
        answer = await api.http.get("/v1/vods", params={"page_size": 1000, **query})
        assert answer.status_code == 200, answer.text
        return [v["jvod_id"] for v in answer.json()["vod_jobs"]]

    assert commands[0].clip in await listed(jvod_state="finished")
    assert commands[1].clip not in await listed(jvod_state="finished")
    assert await listed(label="c2") == [commands[2].clip]
    assert commands[0].clip in await listed(jvod_type="library")
    assert await listed(jvod_type="s3") == []
    assert await listed(created_at=f"-{commands[0].requested_ms - 3_600_000}") == []
    assert commands[3].clip in await listed(created_at=str(commands[0].requested_ms - 1000), sort="modified_at")
    for bad in ({"jvod_state": "done"}, {"created_at": "x"}, {"modified_at": "-"}, {"sort": "label"}):
        answer = await api.http.get("/v1/vods", params=bad)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, next(iter(bad)))


async def test_cancelling_tells_the_clipper_and_not_what_is_over(api: Gateway) -> None:
    job = await live_job(api)
    command = await clip_of(api, job)
    cancelled = await api.http.put(f"/v1/vods/{command.clip}/cancel")
    assert (cancelled.status_code, cancelled.json()["jvod_state"]) == (202, "cancelling")
    for record in (None, "processing", "cancelled"):  # not taken up yet, taken up, and the clipper has done it
        if record:
            await api.write_clip(command, state=record)
        shown = (await api.http.get(f"/v1/vods/{command.clip}")).json()["jvod_state"]
        listed = (await api.http.get("/v1/vods", params={"jvod_state": shown, "page_size": 1000})).json()["vod_jobs"]
        assert shown == ("cancelled" if record == "cancelled" else "cancelling")
        assert command.clip in [one["jvod_id"] for one in listed]
    sent = await api.js().get_last_msg(commands_of("clipper"), f"{ClipCancel.channel}.main.{command.clip}")
    assert json.loads(sent.data or b"")["clip"] == command.clip
    await api.write_clip(command, state="finished")
    assert (await api.http.put(f"/v1/vods/{command.clip}/cancel")).status_code == 409
    elsewhere = {"X-Reelay-Account": "other"}
    for method, path in (("GET", ""), ("PUT", "/cancel"), ("GET", "/media.mp4")):
        answer = await api.http.request(method, f"/v1/vods/{command.clip}{path}", headers=elsewhere)
        assert answer.status_code == 404


async def test_a_repeated_request_with_its_key_cuts_once(api: Gateway) -> None:
    job = await live_job(api)
    body = {"live_job_id": job, "outputs": [{"duration": 5}, {"duration": 6}]}
    before = (await api.js().stream_info(commands_of("clipper"))).state.last_seq
    answers = [await api.http.post("/v1/vods", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert (await api.js().stream_info(commands_of("clipper"))).state.last_seq == before + 2


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["label", "stream_start_time", "stream_end_time", "start_time", "end_time", "duration", "wait", "notifications",
     "stream_start_timecode", "url", "videocloud", "credentials", "destinations"]
)  # fmt: skip
likely = st.integers(-5, 70) | st.sampled_from(["1", "5.5", 1e3, True, None, "x", [], {}]) | anything


async def test_whatever_is_sent_is_answered_and_never_with_an_error_of_ours(api: Gateway) -> None:
    job = await live_job(api)
    collected: list[Any] = []

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.dictionaries(names, likely, max_size=4) | anything)
    def collect(output: Any) -> None:
        collected.append(output)

    collect()
    transport = httpx.ASGITransport(app=api.web)
    async with httpx.AsyncClient(transport=transport, base_url="http://t", headers={"X-API-KEY": api.admin}) as client:
        for output in collected:
            body = json.dumps({"live_job_id": job, "outputs": [output]})
            answer = await client.post("/v1/vods", content=body)
            assert answer.status_code in {201, 400}, (body, answer.text)
            answer = await client.post("/v1/jobs", content=json.dumps({"name": "x", "extra": output}))
            assert answer.status_code in {201, 400}, (output, answer.text)
