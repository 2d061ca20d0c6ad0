"""DVR exports of the streamer API over HTTP; clipper and exporter are played by hand."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.broker.subjects import channel_of
from shared.messages.clips import ClipCancel, ClipCreate, ClipDelivery
from shared.messages.destinations import DESTINATION_PURPOSE
from tests.support.api_gateway import Gateway, gateway, make_key, until, with_key
from tests.support.nats import NatsServer

API = "/streamer/api/v3"
JOBS = f"{API}/dvr_export_jobs"
AGO_MS = 600_000


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, export_dir=str(tmp_path), secret_key="the same for each test here") as running:
        fields = {
            "credential_label": "bucket", "credential_type": "s3", "credential_public": "user",
            "credential_private": "hunter2", "credential_default_for_type": True,
        }  # fmt: skip
        made = await running.http.post("/v1/credentials", json=fields, headers={"Idempotency-Key": "once"})
        assert made.status_code == 201, made.text
        yield running


async def stream(api: Gateway, account: str = "main") -> tuple[str, int]:
    """Make a stream with a recording that goes on; its name, and a moment (ms) within it."""
    name = f"tv/{uuid.uuid4().hex[:8]}"
    made = (await api.http.put(f"{API}/streams/{name}", json={})).json()
    await api.publish(made["reelay"]["job"], ago_ms=AGO_MS, account=account)
    return name, api.clock.now_ms() // 1000 * 1000 - AGO_MS + 60_000


async def answered(api: Gateway, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await api.http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def url_of(api: Gateway, command: ClipCreate) -> str:
    url = command.destinations[0].url
    return api.parts.service.vault.decrypt(url, DESTINATION_PURPOSE) if url else ""


async def test_an_export_is_a_clip_from_its_request_to_its_end(api: Gateway) -> None:
    name, start = await stream(api)
    ident = str(uuid.uuid4())
    body = {
        "name": name, "from": start, "duration": 4500, "path": "s3://bucket/path/file.mp4", "packing": "compat",
        "filter": {"tracks": "v1a1"}, "timelapse": "false", "timelapse_kbps": 3000,
    }  # fmt: skip
    made = await answered(api, "PUT", f"{JOBS}/{ident}", body)
    kept = {key: body[key] for key in ("name", "from", "duration", "path", "packing", "filter")}
    assert {key: made[key] for key in kept} == kept
    assert (made["id"], made["status"]) == (ident, "running")
    assert "finished_at" not in made
    assert "error" not in made
    command = await api.command(uuid.UUID(ident).hex)
    assert url_of(api, command) == "s3://bucket/path/file.mp4"
    assert (command.selection.clock, command.selection.start * 1000, command.asked_duration * 1000) == (
        "wall", start, 4500,
    )  # fmt: skip
    for again in (body, made):  # the same again, or what was answered, makes nothing new
        answer = await answered(api, "PUT", f"{JOBS}/{ident.upper()}", again)
        assert answer | {"reelay": None} == made | {"reelay": None}
    await answered(api, "PUT", f"{JOBS}/{ident}", body | {"duration": 5000}, 409)
    export = command.destinations[0].export
    line = ClipDelivery(export=export, state="delivered", accuracy="frame", location="s3://bucket/path/file.mp4")
    await api.write_clip(command, state="finished", finished_ms=start, deliveries=(line,))
    done = await answered(api, "GET", f"{JOBS}/{ident}")
    assert (done["status"], done["finished_at"], done["reelay"]["location"]) == ("succeeded", start, line.location)
    await answered(api, "DELETE", f"{JOBS}/{ident}", status=204)  # it has ended: nothing changes
    assert (await answered(api, "GET", f"{JOBS}/{ident}"))["status"] == "succeeded"
    await api.write_clip(command, state="failed", error="not delivered: disk full")
    failed = await answered(api, "GET", f"{JOBS}/{ident}")
    assert (failed["status"], failed["error"]) == ("failed", "not delivered: disk full")


async def test_delete_cancels(api: Gateway) -> None:
    name, start = await stream(api)
    ident = str(uuid.uuid4())
    body = {"name": name, "from": start, "duration": 4000, "path": "/cup/final.mp4"}
    await answered(api, "PUT", f"{JOBS}/{ident}", body)
    for _ in range(2):
        await answered(api, "DELETE", f"{JOBS}/{ident}", status=204)
    clip = uuid.UUID(ident).hex
    last = await api.js().get_last_msg(channel_of(ClipCancel).stream, f"{ClipCancel.channel}.main.{clip}")
    assert ClipCancel.model_validate_json(last.data or b"").clip == clip
    await api.write_clip(await api.command(clip), state="cancelled", finished_ms=start)

    async def canceled() -> bool:
        return bool((await answered(api, "GET", f"{JOBS}/{ident}"))["status"] == "canceled")

    await until(canceled)


async def test_the_list_has_exports_alone(api: Gateway) -> None:
    name, start = await stream(api)
    job = (await answered(api, "GET", f"{API}/streams/{name}"))["reelay"]["job"]
    await answered(api, "POST", "/v1/vods", {"live_job_id": job, "outputs": [{"duration": 5}]}, 201)
    ids = sorted(str(uuid.uuid4()) for _ in range(3))
    for number, ident in enumerate(ids):
        body = {"name": name, "from": start, "duration": 1000 + number, "path": f"{number}.mp4"}
        await answered(api, "PUT", f"{JOBS}/{ident}", body)
    await api.write_clip(await api.command(uuid.UUID(ids[0]).hex), state="finished", finished_ms=start)
    found = await answered(api, "GET", f"{JOBS}?name={name}")
    assert [(one["id"], one["status"]) for one in found["jobs"]] == [
        (ids[0], "succeeded"), (ids[1], "running"), (ids[2], "running"),
    ]  # fmt: skip
    some = await answered(api, "GET", f"{JOBS}?name={name}&status=running&limit=1&sort=-duration")
    assert ([one["id"] for one in some["jobs"]], some["estimated_count"]) == ([ids[2]], 2)
    foreign = await api.http.get(JOBS, headers={"X-Reelay-Account": "another"})
    assert foreign.json()["jobs"] == []
    assert (await api.http.get(f"{JOBS}/{ids[0]}", headers={"X-Reelay-Account": "another"})).status_code == 404


async def test_the_old_call_has_everything_in_its_query(api: Gateway) -> None:
    name, start = await stream(api)
    query = f"from={start // 1000}&duration=30&path=vod/a%20b%25.mp4"
    for _ in range(2):  # the second finds the first going on
        answer = await api.http.post(f"{API}/streams/{name}/dvr/export?{query}")
        assert (answer.status_code, answer.content) == (204, b""), answer.text
    (made,) = (await answered(api, "GET", f"{JOBS}?name={name}"))["jobs"]
    assert (made["from"], made["duration"], made["path"]) == (start, 30_000, "vod/a b%.mp4")
    command = await api.command(made["reelay"]["clip"])
    assert url_of(api, command) == "file:///vod/a b%25.mp4"
    await api.write_clip(command, state="failed", finished_ms=start, error="disk full")

    async def ended() -> bool:
        return bool((await answered(api, "GET", f"{JOBS}/{made['id']}"))["status"] == "failed")

    await until(ended)
    await answered(api, "POST", f"{API}/streams/{name}/dvr/export?{query}", status=204)
    assert len((await answered(api, "GET", f"{JOBS}?name={name}"))["jobs"]) == 2
    for wrong, field in (("duration", "duration"), ("path=", "path"), (f"from={start}", "from"), ("meta=1", "meta")):
        refused = await answered(api, "POST", f"{API}/streams/{name}/dvr/export?{query}&{wrong}", status=400)
        assert refused["errors"][0]["source"] == {"parameter": field}, wrong


BAD: list[tuple[dict[str, Any], str]] = [
    ({"from": None}, "/from"),
    ({"from": 1_700_000_000}, "/from"),
    ({"duration": 0}, "/duration"),
    ({"duration": 49 * 3_600_000}, "/duration"),
    ({"path": ""}, "/path"),
    ({"path": "ftp://example.com/a.mp4"}, "/path"),
    ({"path": "../a.mp4"}, "/path"),
    ({"path": "a\n.mp4"}, "/path"),
    ({"path": "s3://key:secret@bucket/a.mp4"}, "/path"),
    ({"packing": "mkv"}, "/packing"),
    ({"filter": {"tracks": "v1"}}, "/filter/tracks"),
    ({"filter": {"colour": "red"}}, "/filter/colour"),
    ({"timelapse": "true"}, "/timelapse"),
    ({"id": str(uuid.uuid4())}, "/id"),
]


async def test_what_is_wrong_is_named(api: Gateway) -> None:
    name, start = await stream(api)
    good = {"name": name, "from": start, "duration": 4000, "path": "a.mp4"}
    ident = str(uuid.uuid4())
    for change, field in BAD:
        refused = await answered(api, "PUT", f"{JOBS}/{ident}", good | change, 400)
        assert refused["errors"][0]["source"] == {"pointer": field}, change
    await answered(api, "PUT", f"{JOBS}/{ident}", good | {"name": "nobody"}, 404)
    refused = await answered(api, "PUT", f"{JOBS}/mine", good, 400)
    assert refused["errors"][0]["source"] == {"parameter": "id"}
    for method in ("GET", "DELETE"):
        await answered(api, method, f"{JOBS}/{ident}", status=404)
        await answered(api, method, f"{JOBS}/mine", status=404)
    job = (await answered(api, "GET", f"{API}/streams/{name}"))["reelay"]["job"]
    asked = {"live_job_id": job, "outputs": [{"duration": 5}]}
    clip = (await answered(api, "POST", "/v1/vods", asked, 201))["vod_jobs"][0]["jvod_id"]
    await answered(api, "GET", f"{JOBS}/{clip}", status=404)  # a clip of /v1 is no export
    await answered(api, "PUT", f"{JOBS}/{clip}", good, 409)


async def test_exports_need_the_scopes_of_clips(api: Gateway) -> None:
    for scopes, read, write in (("vods:read", 200, 403), ("vods:write", 200, 400), ("jobs:write", 403, 403)):
        key = (await make_key(api, scopes))["key"]
        assert (await with_key(api, key, "GET", JOBS)).status_code == read
        assert (await with_key(api, key, "PUT", f"{JOBS}/{uuid.uuid4()}", json={})).status_code == write


async def test_without_folders_a_local_path_is_a_file_of_the_library(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path) as api:
        api.http.headers["X-Reelay-Account"] = "bare"
        name, start = await stream(api, "bare")
        ident = str(uuid.uuid4())
        body = {"name": name, "from": start, "duration": 4000, "path": "/storage/final.mp4"}
        made = await answered(api, "PUT", f"{JOBS}/{ident}", body)
        assert (made["path"], made["reelay"]["destination"]) == ("/storage/final.mp4", "library")
        command = await api.command(made["reelay"]["clip"], "bare")
        assert command.destinations[0].file_name == f"final-{command.clip}.mp4"
        refused = await answered(api, "PUT", f"{JOBS}/{uuid.uuid4()}", body | {"path": "s3://bucket/a.mp4"}, 400)
        assert refused["errors"][0]["source"] == {"pointer": "/path"}
        assert "credentials" in refused["errors"][0]["title"]
