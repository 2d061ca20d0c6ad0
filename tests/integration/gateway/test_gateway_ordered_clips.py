"""Clips that are ordered inside `POST /v1/jobs`, in both dialects; the clipper's part is played by hand."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.gateway.domain.clips.clips import NewClip
from services.gateway.domain.clips.window import ClipRange
from services.gateway.domain.jobs.jobs import NewJob
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCreate
from shared.messages.media import SegmentWritten
from shared.messages.sessions import EventClock, clock_key
from tests.support.api_gateway import Gateway, gateway, make_key, until
from tests.support.nats import NatsServer

CLIP = {"live_stream": False, "label": "goal", "stream_start_time": 4, "stream_end_time": 8}
LIVE = {"live_stream": True, "label": "hls720p", "height": 720}


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, allow_nets="127.0.0.0/8") as running:
        running.http.headers["X-Reelay-Account"] = f"c-{uuid.uuid4().hex[:8]}"
        yield running


def account(api: Gateway) -> str:
    return str(api.http.headers["X-Reelay-Account"])


async def order(api: Gateway, *outputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a job with outputs."""
    return await api.job(outputs=list(outputs), **more)


async def stream(api: Gateway, job: str, seconds: int = 20) -> None:
    """Publish, record so many seconds in one segment, and leave."""
    session = await api.publish(job, ago_ms=seconds * 1000, account=account(api))
    clock = await Bucket(api.ingester.js, "sessions", EventClock).get(clock_key(account(api), job))
    assert clock
    folder = f"live/{job}/{session}/primary-1"
    segment = SegmentWritten(
        account=account(api), event=job, session=session, sequence=0, key=f"{folder}/0.m4s",
        init_key=f"{folder}/init-0.mp4", start=0, duration=seconds * 90_000, timescale=90_000, origin_ms=0,
        wall_start_ms=clock.value.first_frame_ms, bytes=1, sha256="0" * 64, keyframes=(0,),
    )  # fmt: skip
    await api.ingester.outbox.emit(segment)
    await api.unpublish(job, session, account=account(api))
    await api.until_state(job, "disconnected", account=account(api))


async def stop(api: Gateway, job: str, how: str = "stop") -> None:
    assert (await api.http.put(f"/v1/jobs/{job}/{how}")).status_code == 200


async def settled(api: Gateway, clip: str) -> ClipCreate:
    """Wait for the command that has a clip's range."""

    async def look() -> ClipCreate | None:
        command = await api.command(clip, account(api))
        return command if command.settled else None

    found: ClipCreate = await until(look)
    return found


async def test_they_are_seen_and_listed_from_the_start(api: Gateway) -> None:
    made = await order(api, LIVE, CLIP, {**CLIP, "label": "last", "stream_start_time": None, "stream_end_time": 9,
                                         "duration": "2.5"})  # fmt: skip
    assert [one["label"] for one in made["vod_jobs"]] == ["goal", "last"]
    assert made["outputs"] == [LIVE]
    listed = (await api.http.get(f"/v1/jobs/{made['id']}/vods", params={"sort_dir": "asc"})).json()["vod_jobs"]
    assert {one["jvod_id"] for one in listed} == {one["jvod_id"] for one in made["vod_jobs"]}
    assert {one["jvod_state"] for one in listed} == {"waiting_finish_live"}
    first = (await api.http.get(f"/v1/vods/{made['vod_jobs'][0]['jvod_id']}")).json()
    assert first["asked"] == {"clock": "stream", "start": 4.0, "end": 8.0, "duration": 4.0}
    assert (await api.http.get(f"/v1/vods/{first['jvod_id']}/playlist.m3u8")).status_code == 404
    assert "vod_jobs" not in (await api.http.get(f"/v1/jobs/{made['id']}")).json()


RANGES: list[tuple[dict[str, Any], tuple[int | float, int | float] | str]] = [
    ({"stream_start_time": 4, "stream_end_time": 8}, (4, 8)),
    ({"stream_start_time": 15, "stream_end_time": 350}, (15, 350)),  # the clipper ends it with the stream
    ({"stream_end_time": 10, "duration": 3}, (7, 10)),
    ({"duration": 5}, (15, 20)),
    ({"duration": 50}, (0, 20)),
    ({"stream_start_time": 30, "duration": 5}, "stream_start_time: the range begins after the stream's end"),
    ({"stream_start_timecode": "01:00:00:00", "duration": 5}, "stream_start_timecode: the encoder sends no timecodes"),
    ({"start_time": 32_503_680_000, "duration": 5}, "start_time: the range begins after the stream's end"),
]


async def test_they_get_their_ranges_when_the_job_has_finished(api: Gateway) -> None:
    made = await order(api, *({"live_stream": False, **asked} for asked, _ in RANGES))
    clips = [one["jvod_id"] for one in made["vod_jobs"]]
    before = [await api.command(clip, account(api)) for clip in clips]
    await stream(api, made["id"])
    assert [await api.command(clip, account(api)) for clip in clips] == before
    await stop(api, made["id"])
    for command, first, (_, expected) in zip([await settled(api, clip) for clip in clips], before, RANGES, strict=True):
        if isinstance(expected, str):
            assert command.refused.startswith(expected)
        else:
            assert (command.selection.start, command.selection.end) == tuple(map(Fraction, expected))
            assert (command.selection.clock, command.refused) == ("stream", "")
        assert (command.destinations, command.live, command.wait) == (first.destinations, False, False)


async def test_each_is_settled_once_however_often_the_end_is_told(api: Gateway) -> None:
    made = await order(api, *[CLIP] * 5)
    await stream(api, made["id"])
    await stop(api, made["id"])
    for one in made["vod_jobs"]:
        await settled(api, one["jvod_id"])
    await api.parts.ordered.settle(account(api), made["id"])
    info = await api.js().stream_info("COMMANDS_CLIPPER", subjects_filter=f"clips.create.{account(api)}.*")
    assert sorted((info.state.subjects or {}).values()) == [2] * 5


async def test_one_whose_clipper_has_taken_it_up_is_settled_too_but_none_that_was_cancelled(api: Gateway) -> None:
    made = await order(api, CLIP, CLIP)
    commands = [await api.command(one["jvod_id"], account(api)) for one in made["vod_jobs"]]
    await api.js().purge_stream("COMMANDS_CLIPPER", subject=f"clips.create.{account(api)}.*")
    await api.write_clip(commands[0], state="waiting_finish_live")
    await api.write_clip(commands[1], state="cancelled")
    await stream(api, made["id"])
    await stop(api, made["id"])
    assert (await settled_command(api, commands[0].clip)).settled
    info = await api.js().stream_info("COMMANDS_CLIPPER", subjects_filter=f"clips.create.{account(api)}.*")
    assert list(info.state.subjects or {}) == [f"clips.create.{account(api)}.{commands[0].clip}"]


async def settled_command(api: Gateway, clip: str) -> ClipCreate:
    """Wait for the command that has the range of a clip that has a record."""

    async def look() -> ClipCreate | None:
        pending, _ = await api.parts.clips._pending.all_of(account(api))
        return next((one for one in pending if one.clip == clip), None)

    found: ClipCreate = await until(look)
    return found


async def test_a_job_without_a_stream_fails_them(api: Gateway) -> None:
    made = await order(api, CLIP)
    await stop(api, made["id"])
    assert "nothing has been published" in (await settled(api, made["vod_jobs"][0]["jvod_id"])).refused


async def test_a_cancelled_job_settles_none(api: Gateway) -> None:
    made = await order(api, CLIP)
    await stream(api, made["id"])
    await stop(api, made["id"], "cancel")
    await api.until_state(made["id"], "cancelled", account=account(api))
    await api.parts.ordered.settle(account(api), made["id"])
    clip = made["vod_jobs"][0]["jvod_id"]
    assert (await api.command(clip, account(api))).after_live  # the clipper drops it


async def test_a_repeated_request_makes_the_same_job_and_clips(api: Gateway) -> None:
    body = {"name": "match", "outputs": [CLIP]}
    headers = {"Idempotency-Key": "one"}
    first, second = [(await api.http.post("/v1/jobs", json=body, headers=headers)).json() for _ in range(2)]
    assert first["vod_jobs"] == second["vod_jobs"]
    assert first["id"] == second["id"]
    listed = (await api.http.get(f"/v1/jobs/{first['id']}/vods")).json()["vod_jobs"]
    assert [one["jvod_id"] for one in listed] == [first["vod_jobs"][0]["jvod_id"]]


async def test_clips_of_a_job_that_has_ended_meanwhile_are_settled_at_once(api: Gateway) -> None:
    """The gateway died between the job and its clips; its client asks again, much later."""
    idents = [uuid.uuid4().hex for _ in range(2)]
    new = NewJob("match", 1800, 0, 0, static=False, fields={})
    await api.parts.jobs.create(account(api), idents[0], new)
    await stream(api, idents[0])
    await stop(api, idents[0])
    await api.until_state(idents[0], "finished", account=account(api))
    asked = NewClip("outputs[0]", "last", ClipRange(duration=Fraction(5)))
    job, clips = await api.parts.ordered.create(account(api), new, [asked], (), idents.__getitem__)
    assert (job.state, [one.clip for one in clips]) == ("finished", idents[1:])
    assert (await settled(api, idents[1])).selection.end == 20


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "outputs[1].duration"),
    ({"duration": -1}, "outputs[1].duration"),
    ({"duration": "x"}, "outputs[1].duration"),
    ({"stream_start_time": 5}, "outputs[1].stream_end_time"),
    ({"stream_start_time": 5, "stream_end_time": 4}, "outputs[1].stream_end_time"),
    ({"stream_start_time": 5, "end_time": 32_503_680_000}, "outputs[1].end_time"),
    ({"start_time": 1_516_652_694, "end_time": 1_516_652_754}, "outputs[1].end_time"),
    ({"stream_start_timecode": "01:00:00:00"}, "outputs[1].stream_end_timecode"),
    ({"stream_start_timecode": "25:00:00:00", "duration": 5}, "outputs[1].stream_start_timecode"),
    ({"duration": 5, "mode": "instant"}, "outputs[1].duration"),
    ({"stream_start_time": 1, "stream_end_time": 4, "mode": "instant"}, "outputs[1].mode"),
    ({"duration": 5, "url": "s3://bucket/x.mp4", "credentials": "nobody's"}, "outputs[1].credentials"),
    ({"duration": 5, "notifications": ["ftp://127.0.0.1/x"]}, "outputs[1].notifications[0].url"),
    ({"duration": 172_801}, "outputs[1].duration"),
]


async def test_what_is_wrong_is_named_and_no_job_is_made(api: Gateway) -> None:
    found = []
    for dialect in ("native", "brightcove"):
        key = await make_key(api, "jobs:write", "vods:write", account=account(api), dialect=dialect)
        headers = {"X-API-KEY": key["key"]}
        for asked, _ in BAD:
            body = {"live_stream": True, "outputs": [LIVE, {"live_stream": False, **asked}]}
            answer = await api.http.post("/v1/jobs", json=body, headers=headers)
            found.append((answer.status_code, answer.json()["error"].split(":")[0]))
        assert (await api.http.get("/v1/jobs", headers=headers)).json()["jobs"] == []
    assert found == [(400, field) for _, field in BAD] * 2


async def test_a_reel_is_of_what_there_is(api: Gateway) -> None:
    reel = {"live_stream": False, "ranges": [{"stream_start_time": 1, "duration": 2}]}
    answer = await api.http.post("/v1/jobs", json={"outputs": [reel]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "outputs[0].ranges")


async def test_clips_need_the_scope_of_clips(api: Gateway) -> None:
    key = await make_key(api, "jobs:write", account=account(api))
    async with httpx.AsyncClient(base_url=api.http.base_url, headers={"X-API-KEY": key["key"]}) as http:
        assert (await http.post("/v1/jobs", json={"outputs": [LIVE]})).status_code == 201
        refused = await http.post("/v1/jobs", json={"outputs": [CLIP]})
        assert (refused.status_code, "vods:write" in refused.text) == (403, True)


async def test_in_their_dialect(api: Gateway) -> None:
    key = await make_key(api, "jobs:write", "vods:write", account=account(api), dialect="brightcove")
    async with httpx.AsyncClient(base_url=api.http.base_url, headers={"X-API-KEY": key["key"]}) as http:
        last = {"live_stream": False, "label": "end", "duration": 10}
        made = (await http.post("/v1/jobs", json={"live_stream": True, "outputs": [LIVE, CLIP, last]})).json()
        watched, *clips = made["outputs"]
        assert [one["label"] for one in made["outputs"]] == [LIVE["label"], "goal", "end"]
        assert watched["playback_url"].partition("/play/")[0] == made["playback_url"].partition("/play/")[0]
        assert watched["playback_url"].rpartition("/")[2] == made["playback_url"].rpartition("/")[2]
        shown = [(await http.get(f"/v1/vods/{one['id']}")).json() for one in clips]
        assert [one["jvod_state"] for one in shown] == ["waiting_finish_live"] * 2
        assert [one["jvod_duration_s"] for one in shown] == [4, 10]
        assert [(one["jvod_start_time_relative_s"], one["jvod_end_time_relative_s"]) for one in shown] == [
            (4, 8), (None, None),
        ]  # fmt: skip
        listed = await http.get(f"/v1/jobs/{made['id']}/vods", params={"jvod_state": "waiting_finish_live"})
        assert [one["jvod_finished_at"] for one in listed.json()["vod_jobs"]] == [0, 0]
        await stream(api, made["id"])
        assert (await http.put(f"/v1/jobs/{made['id']}/stop")).json() == {"id": made["id"]}
        await settled(api, clips[1]["id"])
        end = (await http.get(f"/v1/vods/{clips[1]['id']}")).json()
        assert (end["jvod_start_time_relative_s"], end["jvod_end_time_relative_s"]) == (10, 20)
