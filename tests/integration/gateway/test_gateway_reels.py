"""Reels over HTTP: ranges of one or many jobs in one output."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import httpx

from shared.broker.streams import commands_of
from shared.messages.clips import ClipCreate
from shared.messages.edits import BurntIn, Crop, PictureEdit
from shared.messages.ranges import Gap
from shared.security.webhooks import open_url
from tests.support.api_gateway import Gateway

GOOD: dict[str, Any] = {"stream_start_time": 4, "duration": 10}


async def live_job(api: Gateway) -> str:
    job = str((await api.job())["id"])
    await api.publish(job)
    return job


async def ask(api: Gateway, job: str, *ranges: dict[str, Any], **output: Any) -> httpx.Response:
    asked = {"live_job_id": job, "outputs": [{"ranges": list(ranges), **output}]}
    headers = {"Idempotency-Key": output["label"].replace(" ", "-")} if "label" in output else {}
    return await api.http.post("/v1/vods", json=asked, headers=headers)


async def made(api: Gateway, answer: httpx.Response) -> ClipCreate:
    assert answer.status_code == 201, answer.text
    return await api.command(answer.json()["vod_jobs"][0]["jvod_id"])


async def test_each_range_takes_what_a_clip_takes_of_its_own_job(api: Gateway) -> None:
    one, other = await live_job(api), await live_job(api)
    now = api.clock.now_ms() // 1000
    answer = await ask(
        api, one, {"stream_start_time": 9, "stream_end_time": 12}, {"live_job_id": other, "duration": 5},
        {"start_time": now - 30, "duration": 2}, {"stream_end_time": 7, "duration": 2},
        {"live_job_id": other, "start_time": now, "duration": 60, "wait": True}, label="best of",
    )  # fmt: skip
    order = await made(api, answer)
    assert (order.event, order.label, order.wait, order.live) == (one, "best of", True, True)
    assert order.asked_duration == 3 + 5 + 2 + 2 + 60
    assert [part.event for part in order.ranges] == [one, other, one, one, other]
    assert [part.selection.clock for part in order.ranges] == ["stream", "wall", "wall", "stream", "wall"]
    assert [part.wait for part in order.ranges] == [False, False, False, False, True]
    assert [part.selection for part in order.parts] == [part.selection for part in order.ranges]
    assert {(part.clip, part.ranges) for part in order.parts} == {(order.clip, ())}
    listed = (await api.http.get(f"/v1/jobs/{one}/vods")).json()["vod_jobs"]
    assert [clip["jvod_id"] for clip in listed] == [order.clip]


async def test_the_same_request_twice_is_one_reel(api: Gateway) -> None:
    job = await live_job(api)
    first, again = [await ask(api, job, GOOD, GOOD, label="twice") for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()


async def test_a_reel_shows_what_became_of_each_range(api: Gateway) -> None:
    one, other = await live_job(api), await live_job(api)
    order = await made(api, await ask(api, one, GOOD, {"live_job_id": other, "duration": 5}, GOOD))
    path = f"/v1/vods/{order.clip}"
    pending = (await api.http.get(path)).json()
    assert pending["jvod_duration_s"] == 25
    assert [(part["job_id"], part["asked"]["duration"], part["made"]) for part in pending["ranges"]] == [
        (one, 10, None), (other, 5, None), (one, 10, None),
    ]  # fmt: skip
    ranges = [
        {"in_point": "4", "out_point": "14", "duration": "10", "frames": 300, "in_timecode": "01:00:00:00"},
        {},
        {"in_point": "4", "out_point": "13", "duration": "9", "frames": 270},
    ]
    file = api.put_file(order, b"reel", "frame", method="smart", ranges=ranges, out_point="13", duration="19")
    gaps = (
        Gap(start=Fraction(50), duration=Fraction(5), range=1),
        Gap(start=Fraction(13), duration=Fraction(1), range=2),
    )
    await api.write_clip(order, file=file, state="finished", finished_ms=api.clock.now_ms(), gaps=gaps)
    done = (await api.http.get(path)).json()
    assert [bool(part["made"]) for part in done["ranges"]] == [True, False, True]
    assert done["ranges"][0]["made"]["in_timecode"] == "01:00:00:00"
    assert [[(gap["start"], gap["duration"]) for gap in part["gaps"]] for part in done["ranges"]] == [
        [], [(50, 5)], [(13, 1)],
    ]  # fmt: skip
    assert (done["made"]["out_point"], done["jvod_reported_duration_s"], len(done["gaps"])) == (13, 19, 2)
    assert (await api.http.get(done["jvod_url"])).content == b"reel"


NOBODY = "0" * 32
BAD: list[tuple[dict[str, Any], str]] = [
    ({"ranges": []}, "ranges"),
    ({"ranges": [GOOD] * 101}, "ranges"),
    ({"ranges": [GOOD, {}]}, "ranges[1].duration"),
    ({"ranges": [GOOD, {"stream_start_time": 5, "stream_end_time": 4}]}, "ranges[1].stream_end_time"),
    ({"ranges": [GOOD, {"stream_start_time": 999_999, "duration": 5}]}, "ranges[1].stream_start_time"),
    ({"ranges": [{"live_job_id": NOBODY, **GOOD}]}, "ranges[0].live_job_id"),
    ({"ranges": [GOOD, {"live_job_id": "../x", **GOOD}]}, "ranges[1].live_job_id"),
    ({"ranges": [GOOD, {"live_job_id": "SILENT", **GOOD}]}, "ranges[1].live_job_id"),
    ({"ranges": [{"stream_start_timecode": "01:10:18:15", "duration": 5}]}, "ranges[0].stream_start_timecode"),
    ({"ranges": [GOOD], "duration": 5}, "duration"),
    ({"ranges": [GOOD], "stream_start_time": 0, "stream_end_time": 5}, "stream_start_time"),
    ({"ranges": [GOOD], "wait": True}, "wait"),
    ({"ranges": [GOOD], "mode": "instant"}, "ranges"),
    ({"ranges": [{"start_time": "NOW", "duration": 170_000, "wait": True}] * 2}, "ranges"),
]


async def test_a_bad_range_is_named_and_nothing_is_cut(api: Gateway) -> None:
    job, silent = await live_job(api), str((await api.job())["id"])
    before = (await api.js().stream_info(commands_of("clipper"))).state.last_seq
    for output, field in BAD:
        for one in output["ranges"]:
            if one.get("live_job_id") == "SILENT":
                one["live_job_id"] = silent
            if one.get("start_time") == "NOW":
                one["start_time"] = api.clock.now_ms() // 1000
        answer = await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": [output]})
        assert answer.status_code == 400, (field, answer.text)
        assert answer.json()["errors"][0]["field"] == f"outputs[0].{field}", answer.text
    many = [{"ranges": [GOOD] * 100}] * 11
    answer = await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": many})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "outputs")
    assert (await api.js().stream_info(commands_of("clipper"))).state.last_seq == before


async def test_edits_are_part_of_the_order_and_no_secret_of_theirs_is_shown(api: Gateway) -> None:
    job = await live_job(api)
    overlay = {"url": "https://user:secret@example.com/logo.png?token=hidden", "corner": "BOTTOM_LEFT", "scale": 20}
    order = await made(api, await ask(api, job, GOOD, crop={"aspect": "9:16", "center": 0.25}, overlay=overlay))
    assert order.edit is not None
    assert order.edit.crop == Crop(aspect="9:16", x=0.25, y=0.25)
    laid = order.edit.overlay
    assert laid is not None
    assert (laid.kind, laid.corner, laid.scale, laid.margin) == ("url", "BOTTOM_LEFT", 20, 16)
    assert open_url(api.parts.service.vault, laid.location) == overlay["url"]
    assert not {"secret", "hidden"} & set(re.findall("[a-z]+", order.model_dump_json()))
    view = (await api.http.get(f"/v1/vods/{order.clip}")).json()
    assert view["crop"] == {"aspect": "9:16", "center": {"x": 0.25, "y": 0.25}}
    assert view["overlay"] == laid.shown
    said = await made(api, await ask(api, job, GOOD, captions={"library": "goal.vtt", "size": 6}))
    assert said.edit == PictureEdit(captions=BurntIn(kind="library", location="goal.vtt", shown="goal.vtt", size=6))
    plain = await made(api, await ask(api, job, GOOD, crop={"aspect": "1:1", "center": {"y": 1}}))
    assert plain.edit == PictureEdit(crop=Crop(aspect="1:1", x=0.5, y=1))


BAD_EDITS: list[tuple[dict[str, Any], str]] = [
    ({"crop": {"aspect": "3:7"}}, "crop.aspect"),
    ({"crop": {"aspect": "1:1", "center": 1.5}}, "crop.center"),
    ({"overlay": {}}, "overlay"),
    ({"overlay": {"url": "https://example.com/a.png", "library": "a.png"}}, "overlay"),
    ({"overlay": {"url": "http://169.254.169.254/a.png"}}, "overlay.url"),
    ({"overlay": {"url": "file:///etc/passwd"}}, "overlay.url"),
    ({"overlay": {"library": "../a.png"}}, "overlay.library"),
    ({"overlay": {"library": "a.png", "opacity": 0}}, "overlay.opacity"),
    ({"captions": {"library": "a.vtt", "size": 50}}, "captions.size"),
    ({"captions": {"url": "gopher://example.com/a.vtt"}}, "captions.url"),
    ({"captions": {}}, "captions"),
    ({"crop": {"aspect": "1:1"}, "mode": "instant"}, "crop"),
    ({"captions": {"library": "a.vtt"}, "mode": "instant"}, "captions"),
]


async def test_a_bad_edit_is_named(api: Gateway) -> None:
    job = await live_job(api)
    for edit, field in BAD_EDITS:
        selector = {"stream_start_time": 4, "stream_end_time": 9}
        answer = await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": [{**selector, **edit}]})
        assert answer.status_code == 400, (field, answer.text)
        assert answer.json()["errors"][0]["field"].startswith(f"outputs[0].{field}"), answer.text


async def test_a_job_that_a_reel_in_work_needs_cannot_be_deleted(api: Gateway) -> None:
    one, other = await live_job(api), await live_job(api)
    session = await api.publish(other)
    await made(api, await ask(api, one, GOOD, {"live_job_id": other, **GOOD}))
    await api.http.put(f"/v1/jobs/{other}/stop")
    await api.unpublish(other, session)
    answer = await api.http.delete(f"/v1/jobs/{other}")
    assert answer.status_code == 409, answer.text
