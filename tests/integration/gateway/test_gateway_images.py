"""Images of clips over HTTP: what is asked for, what is shown, and their bytes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from shared.messages.clips import ClipCreate
from shared.messages.images import ClipImage
from tests.support.api_gateway import Gateway, make_key, with_key

DATA = bytes(range(256)) * 20


async def asked(api: Gateway, job: str, **output: Any) -> httpx.Response:
    body = {"live_job_id": job, "outputs": [{"stream_start_time": 4, "stream_end_time": 14, **output}]}
    return await api.http.post("/v1/vods", json=body)


async def clip(api: Gateway, **output: Any) -> ClipCreate:
    job = (await api.job())["id"]
    await api.publish(job)
    answer = await asked(api, job, **output)
    assert answer.status_code == 201, answer.text
    return await api.command(answer.json()["vod_jobs"][0]["jvod_id"])


WISHES: list[tuple[dict[str, Any], list[tuple[Any, ...]]]] = [
    ({}, []),
    ({"images": {}}, []),
    ({"images": {"poster": {}}}, [("poster", None, None, None, "jpeg", 85)]),
    (
        {"images": {"thumbnail": {"best": True}, "poster": {"at": "2.5", "height": 720, "format": "webp"}}},
        [("poster", 2_500_000, None, 720, "webp", 85), ("thumbnail", None, 320, None, "jpeg", 85)],
    ),
    (
        {"capture-images": True, "images": {"thumbnail": {"at": 0, "width": 64, "height": 64, "quality": 1}}},
        [("poster", None, None, None, "jpeg", 85), ("thumbnail", 0, 64, 64, "jpeg", 1)],
    ),
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"at": -1}, "at"), ({"width": 15}, "width"), ({"height": 3841}, "height"), ({"width": True}, "width"),
    ({"format": "gif"}, "format"), ({"quality": 0}, "quality"), ({"quality": 101}, "quality"), ({"at": "NaN"}, "at"),
    ({"at": 1, "best": True}, ""),
]  # fmt: skip


async def test_requests_become_wishes_and_bad_ones_are_named(api: Gateway) -> None:
    job = (await api.job())["id"]
    await api.publish(job)
    for output, expected in WISHES:
        answer = await asked(api, job, **output)
        command = await api.command(answer.json()["vod_jobs"][0]["jvod_id"])
        made = [(w.kind, w.at_us, w.width, w.height, w.format, w.quality) for w in command.images]
        assert made == expected
    for image, field in BAD:
        answer = await asked(api, job, images={"poster": image})
        assert answer.status_code == 400, image
        assert answer.json()["errors"][0]["field"] == f"outputs[0].images.poster.{field}".rstrip("."), image
    for output, field in (({"images": {"poster": {}}}, "images"), ({"capture-images": True}, "capture-images")):
        answer = await asked(api, job, mode="instant", **output)
        assert answer.json()["errors"][0]["field"] == f"outputs[0].{field}"


async def test_an_image_is_shown_and_served_once_it_is_ready(api: Gateway) -> None:
    command = await clip(api, images={"poster": {"at": 1}, "thumbnail": {"format": "png"}})
    view, path = f"/v1/vods/{command.clip}", f"/v1/vods/{command.clip}/images/poster.jpg"
    waiting = (await api.http.get(view)).json()["images"]
    assert [(image["kind"], image["state"], image["url"]) for image in waiting] == [
        ("poster", "waiting", None), ("thumbnail", "waiting", None),
    ]  # fmt: skip
    early = await api.http.get(path)
    assert (early.status_code, early.json()["error_code"]) == (404, "NOT_READY")
    key = f"clips/main/{command.clip}/poster.jpg"
    api.parts.store.put(key, DATA)
    ready = ClipImage(
        kind="poster", format="jpeg", state="ready", key=key, width=640, height=360, bytes=len(DATA), at_us=1_000_000
    )
    failed = ClipImage(kind="thumbnail", format="png", state="failed", error="no pictures")
    await api.write_clip(command, images=(ready, failed))
    poster, thumbnail = (await api.http.get(view)).json()["images"]
    assert (poster["state"], poster["width"], poster["height"], poster["bytes"], poster["at"]) == (
        "ready", 640, 360, len(DATA), 1.0,
    )  # fmt: skip
    assert (thumbnail["state"], thumbnail["url"], thumbnail["error"]) == ("failed", None, "no pictures")
    whole = await api.http.get(poster["url"])
    assert (whole.content, whole.headers["content-type"]) == (DATA, "image/jpeg")
    assert "content-disposition" not in whole.headers
    part = await api.http.get(path, headers={"Range": "bytes=5-9", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, DATA[5:10])
    head = await api.http.head(path)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(DATA)), b"")
    assert (await api.http.get(path, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304
    for name in ("poster.png", "thumbnail.jpg", "thumbnail.png", "frame.mp4", "..%2fframe.mp4"):
        answer = await api.http.get(f"/v1/vods/{command.clip}/images/{name}")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_NOT_FOUND"), name
    await check_access(api, path, poster["signed_url"])


async def check_access(api: Gateway, path: str, signed: str) -> None:
    async with httpx.AsyncClient(base_url=api.http.base_url) as nobody:
        assert (await nobody.get(signed)).content == DATA
        assert (await nobody.get(path)).status_code == 401
        assert (await nobody.get(signed.replace("account=main", "account=other"))).status_code == 403
    for scopes, account, status in (
        (["vods:read"], "main", 200), (["playback"], "main", 200), (["jobs:read"], "main", 403),
        (["vods:read"], "other", 404),
    ):  # fmt: skip
        key = (await make_key(api, *scopes, account=account))["key"]
        assert (await with_key(api, key, "GET", path)).status_code == status


async def test_images_of_a_clip_that_ended_without_them_have_failed(api: Gateway) -> None:
    command = await clip(api, images={"poster": {}})
    await api.write_clip(command, state="cancelled")
    (image,) = (await api.http.get(f"/v1/vods/{command.clip}")).json()["images"]
    assert (image["state"], image["error"]) == ("failed", "the clip is cancelled")
    answer = await api.http.get(f"/v1/vods/{command.clip}/images/poster.jpg")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(("accuracy", "state"), [("segment", "failed"), ("frame", "waiting")])
async def test_images_may_come_after_a_clip_is_finished(api: Gateway, accuracy: str, state: str) -> None:
    command = await clip(api, images={"poster": {}})
    await api.write_clip(command, state="finished", file=api.put_file(command, DATA, accuracy))
    (image,) = (await api.http.get(f"/v1/vods/{command.clip}")).json()["images"]
    assert image["state"] == state
