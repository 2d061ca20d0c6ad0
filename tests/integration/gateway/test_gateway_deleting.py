"""DELETE over HTTP: what may go, what a clip in work holds, and what the services are told."""

import hashlib
from typing import Any

from shared.broker.kv import Bucket
from shared.broker.subjects import channel_of, subject_of
from shared.messages.base import Message
from shared.messages.clips import ClipDelete, ClipRecord
from shared.messages.exports import LibraryDelete
from shared.messages.keys import IngestKey
from shared.messages.media import RecordingDelete
from shared.security.secrets import hash_token
from tests.support.api_gateway import Gateway


async def told(api: Gateway, kind: type[Message], ident: str) -> Any:
    message = await api.js().get_last_msg(channel_of(kind).stream, f"{kind.channel}.main.{ident}")
    return kind.model_validate_json(message.data or b"")


async def ended_job(api: Gateway) -> dict[str, Any]:
    job = await api.job()
    session = await api.publish(job["id"], ago_ms=3_600_000)
    await api.unpublish(job["id"], session)
    await api.until_state(job["id"], "disconnected")
    assert (await api.http.put(f"/v1/jobs/{job['id']}/stop")).status_code == 200
    return await api.until_state(job["id"], "finished")


async def clip_of(api: Gateway, job: str, start: int, end: int) -> str:
    output = {"label": "goal", "stream_start_time": start, "stream_end_time": end}
    answer = await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": [output]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["vod_jobs"][0]["jvod_id"])


async def status(api: Gateway, path: str, **params: Any) -> int:
    answer = await api.http.delete(path, params=params)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    return answer.status_code


async def test_a_job_goes_when_it_has_ended_with_its_key_and_its_recording(api: Gateway) -> None:
    live = await api.job()
    assert await status(api, f"/v1/jobs/{live['id']}") == 409
    job = await ended_job(api)
    keys = Bucket(api.js, "keys", IngestKey)
    assert await keys.get(f"ingest.{hash_token(job['stream_name'])}")
    assert await status(api, f"/v1/jobs/{job['id']}") == 204
    assert (await told(api, RecordingDelete, job["id"])).from_ms is None
    assert await keys.get(f"ingest.{hash_token(job['stream_name'])}") is None
    assert (await api.http.get(f"/v1/jobs/{job['id']}")).status_code == 404
    listed = [one["id"] for one in (await api.http.get("/v1/jobs?page_size=1000")).json()["jobs"]]
    assert live["id"] in listed
    assert job["id"] not in listed
    assert await status(api, f"/v1/jobs/{job['id']}") == 404


async def test_a_clip_in_work_holds_its_job_and_its_range(api: Gateway) -> None:
    job = await ended_job(api)
    first_ms = (await api.parts.clips._bounds.first_frame("main", job["id"])) or 0
    clip = await clip_of(api, job["id"], 1800, 1860)
    path = f"/v1/jobs/{job['id']}/recording"
    for _ in range(2):  # as a command, and as the clipper's record
        assert await status(api, f"/v1/jobs/{job['id']}") == 409
        assert await status(api, path) == 409
        assert await status(api, path, **{"from": first_ms + 1_850_000}) == 409
        assert await status(api, path, to=first_ms + 1_300_000) == 409, "its keyframe may lie there"
        assert await status(api, path, to=first_ms + 1_100_000) == 202
        assert await status(api, path, **{"from": first_ms + 2_000_000, "to": first_ms + 2_100_000}) == 202
        wish = await told(api, RecordingDelete, job["id"])
        assert (wish.from_ms, wish.to_ms) == (first_ms + 2_000_000, first_ms + 2_100_000)
        await api.write_clip(await api.command(clip))
    command = await api.command(clip)
    await api.write_clip(command, state="finished")
    await api.js().purge_stream(channel_of(command).stream, subject=subject_of(command))
    assert await status(api, path) == 202
    assert await status(api, path, **{"from": 2, "to": 1}) == 400
    assert await status(api, f"/v1/jobs/{job['id']}") == 204


async def test_of_a_live_job_what_lies_in_the_past_can_go(api: Gateway) -> None:
    job = await api.job()
    await api.publish(job["id"], ago_ms=3_600_000)
    path, now = f"/v1/jobs/{job['id']}/recording", api.clock.now_ms()
    assert await status(api, path) == 409
    assert await status(api, path, to=now + 60_000) == 409
    assert await status(api, path, to=now - 60_000) == 202


async def test_a_clip_goes_when_it_has_ended(api: Gateway) -> None:
    job = await ended_job(api)
    clip = await clip_of(api, job["id"], 0, 10)
    assert await status(api, f"/v1/vods/{clip}") == 409
    command = await api.command(clip)
    await api.write_clip(command, state="finished")
    assert await status(api, f"/v1/vods/{clip}") == 202, "no clipper runs here"
    assert (await told(api, ClipDelete, clip)).clip == clip
    await Bucket(api.clipper.js, "clips", ClipRecord).delete(f"main.{clip}")
    await api.js().purge_stream(channel_of(command).stream, subject=subject_of(command))
    assert await status(api, f"/v1/vods/{clip}") == 404


async def test_a_file_of_the_library_goes(api: Gateway) -> None:
    folder = api.folder / "library" / "main"
    folder.mkdir(parents=True)
    (folder / "goal.mp4").write_bytes(b"x")
    assert await status(api, "/v1/library/goal.mp4") == 202, "no exporter runs here"
    wish = await told(api, LibraryDelete, hashlib.sha256(b"goal.mp4").hexdigest()[:32])
    assert wish.file_name == "goal.mp4"
    (folder / "goal.mp4").unlink()
    assert await status(api, "/v1/library/goal.mp4") == 404
    assert await status(api, "/v1/library/.locks") == 404


async def test_deleting_needs_the_right_to_write(api: Gateway) -> None:
    job = await ended_job(api)
    made = await api.http.post("/v1/keys", json={"scopes": ["jobs:read", "vods:read"]})
    headers = {"X-API-KEY": made.json()["key"]}
    for path in (f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/recording", f"/v1/vods/{'0' * 32}", "/v1/library/x"):
        assert (await api.http.delete(path, headers=headers)).status_code == 403
    other = {"X-Reelay-Account": "other"}
    assert (await api.http.delete(f"/v1/jobs/{job['id']}", headers=other)).status_code == 404
