"""The streamer API over HTTP: streams, lists, logins, errors."""

import asyncio
import base64
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.gateway.facades.flussonic import streams
from services.gateway.facades.flussonic.streams import VENDOR
from services.gateway.identity.aliases import Alias, Aliases
from shared.broker.kv import Bucket
from tests.support.api_gateway import Gateway, gateway, make_key
from tests.support.nats import NatsServer

API = "/streamer/api/v3"
PULL = "rtsp://user:secret@camera.example.com/1?token=t"


async def put(api: Gateway, name: str, body: dict[str, Any] | None = None, status: int = 200) -> dict[str, Any]:
    answer = await api.http.put(f"{API}/streams/{name}", json=body or {})
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def read(api: Gateway, name: str, status: int = 200) -> dict[str, Any]:
    answer = await api.http.get(f"{API}/streams/{name}")
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def delete(api: Gateway, name: str) -> int:
    return (await api.http.delete(f"{API}/streams/{name}")).status_code


async def listed(api: Gateway, **query: Any) -> dict[str, Any]:
    answer = await api.http.get(f"{API}/streams", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def new_name(prefix: str = "news") -> str:
    return f"{prefix}/{uuid4().hex[:8]}"


async def test_a_put_makes_a_stream_and_the_next_one_changes_it(api: Gateway) -> None:
    name = new_name("a/b")
    made = await put(api, name, {"title": "News", "dvr": {"expiration": 3600, "root": "/storage"}})
    assert (made["name"], made["title"], made["static"]) == (name, "News", True)
    assert made["inputs"] == [{"url": "publish://"}]
    assert made["dvr"] == {"expiration": 3600, "root": "/storage"}
    assert (made["stats"]["alive"], made["stats"]["status"]) == (False, "waiting")
    job = (await api.http.get(f"/v1/jobs/{made['reelay']['job']}")).json()
    assert (job["name"], job["static"], job["stream_name"]) == ("News", True, made["reelay"]["stream_name"])
    changed = await put(api, name, {"title": None, "dvr": {"expiration": None}, "comment": "x"})
    assert changed["reelay"]["job"] == job["id"]
    assert "title" not in changed
    assert changed["dvr"]["root"] == "/storage"
    assert changed["config_on_disk"] == {"name": name, "dvr": {"root": "/storage"}, "comment": "x"}
    assert (await api.http.get(f"/v1/jobs/{job['id']}")).json()["name"] == name
    back = await put(api, name, changed)  # what was read, written back
    assert {**back, "config_on_disk": {}} == {**changed, "config_on_disk": {}}
    replaced = await put(api, name, {"$reset": True, "title": "Other"})
    assert replaced["config_on_disk"] == {"name": name, "title": "Other"}
    assert await read(api, name) == replaced


async def test_a_stream_is_running_while_an_encoder_publishes(api: Gateway) -> None:
    name = new_name()
    made = await put(api, name)
    session = await api.publish(made["reelay"]["job"])
    shown = (await read(api, name))["stats"]
    assert (shown["alive"], shown["running"], shown["status"]) == (True, True, "running")
    assert shown["opened_at"] > 10**12
    await api.unpublish(made["reelay"]["job"], session)
    await api.until_state(made["reelay"]["job"], "disconnected")
    assert (await read(api, name))["stats"]["status"] == "waiting"


async def test_addresses_to_pull_from_are_kept_and_said_not_to_be_pulled(api: Gateway) -> None:
    name = new_name()
    dvr = {"expiration": 60, "root": "s3://key:secret@storage.example.com/bucket", "replicate": {"secret": "y"}}
    made = await put(api, name, {"inputs": [{"url": "publish://"}, {"url": PULL, "priority": 2}], "dvr": dvr})
    assert made["dvr"] == dvr
    assert made["inputs"][1] == {"url": PULL, "priority": 2}
    assert [note for note in made["reelay"]["notes"] if "inputs[1]" in note and "not pulled yet" in note]
    stored = await Bucket(api.js, "aliases", Alias).items()
    assert "camera" not in "".join(one.value.model_dump_json() for one in stored)
    key = await make_key(api, "jobs:read")
    seen = await api.http.get(f"{API}/streams/{name}", headers={"X-API-KEY": key["key"]})
    assert seen.json()["inputs"][1] == {"url": "rtsp://camera.example.com/1"}
    assert seen.json()["dvr"] == {"expiration": 60}
    assert "secret" not in seen.text
    page = await api.http.get(f"{API}/streams", params={"name": name}, headers={"X-API-KEY": key["key"]})
    assert page.json()["streams"][0]["dvr"] == {"expiration": 60}
    assert "secret" not in page.text
    assert "stream_name" not in seen.json()["reelay"]


async def test_a_name_whose_job_is_over_begins_anew_and_remembers(api: Gateway) -> None:
    name = new_name()
    first = (await put(api, name, {"title": "T"}))["reelay"]["job"]
    assert (await api.http.post(f"{API}/streams/{name}/stop")).status_code == 204
    assert (await api.http.post(f"{API}/streams/{name}/stop")).status_code == 204
    assert (await read(api, name))["stats"]["status"] == "stopped"
    second = (await put(api, name))["reelay"]["job"]
    assert second != first
    assert (await read(api, name))["title"] == "T"
    aliases = Aliases(api.js, VENDOR)
    stored = await aliases.get("main", name)
    assert stored is not None
    assert stored.value.events == (second, first)
    await api.http.put(f"/v1/jobs/{second}/cancel")
    assert (await api.http.delete(f"/v1/jobs/{second}")).status_code == 204
    shown = await read(api, name)  # its job is gone, the stream is not
    assert (shown["stats"]["status"], shown["reelay"]["job"]) == ("stopped", None)
    third = (await put(api, name))["reelay"]["job"]
    stored = await aliases.get("main", name)
    assert stored is not None
    assert stored.value.events == (third, first)


async def test_a_deleted_stream_is_gone_and_its_recording_is_not(api: Gateway) -> None:
    name = new_name()
    job = (await put(api, name))["reelay"]["job"]
    assert await delete(api, name) == 204
    await read(api, name, 404)
    assert await delete(api, name) == 404
    assert (await api.http.get(f"/v1/jobs/{job}")).json()["state"] == "finished"
    again = (await put(api, name))["reelay"]["job"]
    assert again != job


async def test_jobs_of_v1_are_streams_under_their_ids(api: Gateway) -> None:
    job = (await api.job(name="By v1"))["id"]
    assert (await read(api, job))["title"] == "By v1"
    assert job in [one["name"] for one in (await listed(api, limit=1000))["streams"]]
    assert (await put(api, job, {"comment": "c"}))["reelay"]["job"] == job
    assert len([one for one in (await listed(api, limit=1000))["streams"] if one["name"] == job]) == 1
    await put(api, uuid4().hex, {}, 400)
    other = (await api.job())["id"]
    assert await delete(api, other) == 204
    await read(api, other, 404)


async def test_many_puts_at_once_make_one_job(api: Gateway) -> None:
    name = new_name()
    made = await asyncio.gather(*(put(api, name, {"title": f"T{n}", f"x{n}": n}) for n in range(8)))
    assert len({one["reelay"]["job"] for one in made}) == 1
    shown = await read(api, name)
    assert [shown[f"x{n}"] for n in range(8)] == list(range(8))
    named = (await api.http.get("/v1/jobs?page_size=1000")).json()["jobs"]
    assert [one["id"] for one in named if one["name"].startswith("T")].count(shown["reelay"]["job"]) == 1


async def test_a_put_that_was_killed_before_its_job_is_finished_by_the_next(api: Gateway) -> None:
    name, event = new_name(), uuid4().hex
    aliases = Aliases(api.js, VENDOR)
    await aliases.write(None, Alias(account="main", name=name, event=event, created_ms=1, changed_ms=1))
    await read(api, name, 404)
    assert name not in [one["name"] for one in (await listed(api, limit=1000))["streams"]]
    assert (await put(api, name))["reelay"]["job"] == event


async def test_a_list_is_paged_filtered_and_told_apart_by_account(api: Gateway) -> None:
    prefix = new_name()
    for number in range(5):
        await put(api, f"{prefix}/{number}", {"title": f"Title {number}", "labels": {"floor": number}})
    answer = await listed(api, name_like=prefix, limit=2, sort="-name", select="title,stats.alive")
    assert answer["streams"] == [
        {"name": f"{prefix}/{n}", "title": f"Title {n}", "stats": {"alive": False}} for n in (4, 3)
    ]
    assert (answer["estimated_count"], answer["timing"]) == (5, {})
    assert answer["server_id"]
    rest = await listed(api, name_like=prefix, limit=10, sort="-name", cursor=answer["next"])
    assert [one["name"] for one in rest["streams"]] == [f"{prefix}/{n}" for n in (2, 1, 0)]
    assert "next" not in rest
    found = await listed(api, **{"name_like": prefix, "labels.floor_gt": 2, "q": "title"})
    assert [one["title"] for one in found["streams"]] == ["Title 3", "Title 4"]
    answer = await api.http.get(f"{API}/streams", headers={"X-Reelay-Account": "other"})
    assert answer.json()["streams"] == []
    answer = await api.http.get(f"{API}/streams/{prefix}/1", headers={"X-Reelay-Account": "other"})
    assert answer.status_code == 404


async def test_an_account_has_so_many_names_and_no_more(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_NAMES", 2)
    headers = {"X-Reelay-Account": f"few-{uuid4().hex[:8]}"}

    async def status(method: str, name: str) -> int:
        answer = await api.http.request(method, f"{API}/streams/{name}", json={}, headers=headers)
        if answer.status_code == 429:
            assert "at most 2 names" in answer.text
            assert int(answer.headers["retry-after"]) > 0
        return answer.status_code

    assert [await status("PUT", name) for name in ("a", "b", "c", "a")] == [200, 200, 429, 200]
    assert (await api.http.post(f"{API}/streams/a/stop", headers=headers)).status_code == 204
    assert [await status("PUT", "c"), await status("PUT", "a")] == [429, 200]  # a stopped one counts, and goes on
    assert [await status("DELETE", "b"), await status("PUT", "c")] == [204, 200]
    headers = {"X-Reelay-Account": f"other-{uuid4().hex[:8]}"}
    assert await status("PUT", "a") == 200  # others have their own


async def test_settings_are_not_opened_in_the_event_loop(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    names, headers = [new_name("many") for _ in range(3)], {"X-Reelay-Account": f"many-{uuid4().hex[:8]}"}
    for name in names:
        answer = await api.http.put(f"{API}/streams/{name}", json={"title": f"Title of {name}"}, headers=headers)
        assert answer.status_code == 200
    opened: list[int] = []
    brief = streams.Streams.of

    def watched(self: streams.Streams, alias: Alias) -> streams.Stream:
        opened.append(threading.get_ident())
        return brief(self, alias)

    monkeypatch.setattr(streams.Streams, "of", watched)
    found = (await api.http.get(f"{API}/streams?sort=title&limit=2", headers=headers)).json()["streams"]
    assert [one["title"] for one in found] == sorted(f"Title of {name}" for name in names)[:2]
    assert len(opened) == 3
    assert threading.get_ident() not in opened
    text = (await api.http.get("/flussonic/streams.m3u", headers=headers)).text
    assert all(f",Title of {name}\n" in text for name in names)
    assert len(opened) == 3  # the titles are those of the jobs


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_logins(api: Gateway) -> None:
    reader = (await make_key(api, "jobs:read"))["key"]
    clips = (await make_key(api, "vods:read"))["key"]
    cases = {
        basic("admin", api.admin): (200, 200), basic(api.admin, ""): (200, 200), basic(api.admin, "x"): (200, 200),
        f"Bearer {api.admin}": (200, 200), basic("me", reader): (200, 403), basic("me", clips): (403, 403),
        basic("admin", "wrong"): (401, 401), "Basic !": (401, 401), "Bearer x": (401, 401), "": (401, 401),
        "Cluster 1:abc": (401, 401),
    }  # fmt: skip
    async with httpx.AsyncClient(base_url=api.parts.public.base) as nobody:
        for header, (reads, writes) in cases.items():
            headers = {"Authorization": header} if header else {}
            got = await nobody.get(f"{API}/streams", headers=headers)
            assert got.status_code == reads, header
            written = await nobody.put(f"{API}/streams/login", json={}, headers=headers)
            assert written.status_code == writes, header
            if reads == 401:
                assert got.headers["www-authenticate"].startswith("Basic realm=")
                assert got.json()["errors"][0]["code"] == "unauthorized"
        headers = {"Authorization": basic("admin", api.admin), "Sec-Fetch-Site": "cross-site"}
        for method, path in (("POST", f"{API}/streams/x/stop"), ("POST", "/flussonic/api/dvr/lock")):
            assert (await nobody.request(method, path, headers=headers)).status_code == 403
        assert (await nobody.get(f"{API}/streams", headers=headers)).status_code == 200
        for probe in ("liveness", "readiness"):
            answer = await nobody.get(f"{API}/monitoring/{probe}")
            assert answer.status_code == 200
            assert answer.json().keys() == {"now", "server_version", "started_at"}


FAULTS: list[tuple[str, str, bytes | None, int, str, dict[str, str]]] = [
    ("GET", "/streams/none", None, 404, "not_found", {}),
    ("DELETE", "/streams/none", None, 404, "not_found", {}),
    ("POST", "/streams/none/stop", None, 404, "not_found", {}),
    ("GET", "/streams/v1/x", None, 404, "not_found", {}),
    ("PUT", "/streams/v1/x", b"{}", 400, "bad_request", {"parameter": "name"}),
    ("PUT", "/streams/a%20b", b"{}", 400, "bad_request", {"parameter": "name"}),
    ("PUT", "/streams/a/dvr/ranges", b"{}", 400, "bad_request", {"parameter": "name"}),
    ("PUT", "/streams/a", b"{", 400, "bad_request", {}),
    ("PUT", "/streams/a", b"[]", 400, "bad_request", {}),
    ("PUT", "/streams/a", b'{"title": 5}', 400, "bad_request", {"pointer": "/title"}),
    ("PUT", "/streams/a", b'{"dvr": {"expiration": -1}}', 400, "bad_request", {"pointer": "/dvr/expiration"}),
    ("PUT", "/streams/a", b'{"inputs": [{"url": 5}]}', 400, "bad_request", {"pointer": "/inputs/0/url"}),
    ("PUT", "/streams/a", b'{"inputs": [{}]}', 400, "bad_request", {"pointer": "/inputs/0/url"}),
    ("PUT", "/streams/a", b'{"x": "' + b"y" * 8_200 + b'"}', 400, "bad_request", {}),
    ("GET", "/streams?limit=0", None, 400, "bad_request", {"parameter": "limit"}),
    ("GET", "/streams?cursor=x", None, 400, "bad_request", {"parameter": "cursor"}),
]


async def test_errors_field_by_field(api: Gateway) -> None:
    for method, path, body, status, code, source in FAULTS:
        answer = await api.http.request(method, API + path, content=body, headers={"X-Trace-Id": "trace-1"})
        assert answer.status_code == status, (path, answer.text)
        (error,) = answer.json()["errors"]
        assert (error["id"], error["status"], error["code"]) == ("trace-1", str(status), code), path
        assert error["title"]
        assert error.get("source", {}) == source, path
        assert answer.headers["x-trace-id"] == "trace-1"
    assert (await api.http.get(f"{API}/streams/a")).status_code == 404


async def test_every_answer_has_a_trace_id(api: Gateway) -> None:
    given = await api.http.get(f"{API}/streams", headers={"X-Trace-Id": "9f1"})
    assert given.headers["x-trace-id"] == "9f1"
    made = await api.http.get(f"{API}/streams", headers={"X-Trace-Id": "bad id"})
    assert len(made.headers["x-trace-id"]) == 36


async def test_an_account_with_all_its_jobs_gets_no_name(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, account_jobs=1) as api:
        headers = {"X-Reelay-Account": f"q{uuid4().hex[:8]}"}
        assert (await api.http.put(f"{API}/streams/one", json={}, headers=headers)).status_code == 200
        refused = await api.http.put(f"{API}/streams/two", json={}, headers=headers)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, "too_many_requests")
        assert (await api.http.get(f"{API}/streams/two", headers=headers)).status_code == 404
        assert (await api.http.delete(f"{API}/streams/one", headers=headers)).status_code == 204
        assert (await api.http.put(f"{API}/streams/two", json={}, headers=headers)).status_code == 200
