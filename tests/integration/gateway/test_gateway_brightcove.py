"""A key of Brightcove's dialect: each call of its Live API and the exact answer, one file a call, in their order."""

import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from services.gateway.identity import keys_cli
from shared.messages.keys import ApiKeyRecord
from tests.support.api_gateway import Gateway, make_key, with_key
from tests.support.nats import NatsServer

SUPPORT: Final = Path(__file__).parents[2] / "support"
CALLS: Final = sorted((SUPPORT / "brightcove_calls").glob("*.json"))
FORMS: Final = {
    "<id>": r"[0-9a-f]{32}", "<ms>": r"1[0-9]{12}", "<iso>": r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "<url>": r"(https?|rtmp|srt)://\S+", "<token>": r"[\w-]{8,}",
    "<text>": r"\w+(\[\d\])?(\.\w+)*: .+|malformed JSON.+",
}  # fmt: skip


@pytest.fixture
def account() -> str:
    """Return an account of the test's own, in a broker that others use, too."""
    return f"c-{uuid.uuid4().hex[:8]}"


async def client(api: Gateway, account: str, *scopes: str) -> httpx.AsyncClient:
    key = await make_key(api, *scopes, account=account, dialect="brightcove")
    return httpx.AsyncClient(base_url=api.http.base_url, headers={"X-API-KEY": key["key"]}, timeout=30)


def differences(expected: Any, found: Any, at: str = "") -> list[str]:
    """List where an answer is not as expected; <id> and the like stand for anything of their form."""
    if isinstance(expected, dict) and isinstance(found, dict):
        wrong = [f"{at}.{key}: missing or unexpected" for key in sorted(expected.keys() ^ found.keys())]
        both = sorted(expected.keys() & found.keys())
        return wrong + [one for key in both for one in differences(expected[key], found[key], f"{at}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [one for n, (wanted, got) in pairs for one in differences(wanted, got, f"{at}[{n}]")]
    if isinstance(expected, str) and expected in FORMS:
        is_whole = isinstance(found, int) == (expected == "<ms>")
        return [] if is_whole and re.fullmatch(FORMS[expected], str(found)) else [f"{at}: {found!r} is no {expected}"]
    return [] if expected == found and type(expected) is type(found) else [f"{at}: {found!r}, not {expected!r}"]


def picked(answer: Any, path: str) -> str:
    for part in path.split("."):
        answer = answer[int(part) if part.isdigit() else part]
    return str(answer)


def filled(text: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text.replace("PUT-LIVE-JOB-ID-HERE", known.get("job", ""))


async def step(api: Gateway, name: str, known: dict[str, str]) -> None:
    """Act as the other services."""
    if name == "publish":
        await api.publish(known["job"], ago_ms=600_000, account=known["account"])
    if name == "finish":
        command = await api.command(known["last"], known["account"])
        file = api.put_file(command, b"mp4", in_point="570", out_point="600", duration="30")
        now = api.clock.now_ms()
        await api.write_clip(command, state="finished", file=file, finished_ms=now, changed_ms=now)


async def test_each_call_is_answered_exactly(api: Gateway, account: str) -> None:
    known = {"account": account}
    wrong: dict[str, list[str]] = {}
    async with await client(api, account, "jobs:write", "vods:write", "credentials") as theirs:
        for file in CALLS:
            call = json.loads(filled(file.read_text(), known))
            await step(api, call.get("before", ""), known)
            asked = call["request"]
            text = json.dumps(asked["body"]) if "body" in asked else None
            if "sample" in asked:
                text = filled((SUPPORT / f"clip_samples/{asked['sample']}.json").read_text(), known)
            answer = await theirs.request(asked["method"], asked["path"], content=text)
            body = answer.json() if answer.content else None
            wrong[file.stem] = differences(call["answer"], body)
            wrong[file.stem] += differences(call["status"], answer.status_code, "status")
            known |= {name: picked(body, path) for name, path in call.get("save", {}).items() if not wrong[file.stem]}
    assert not {name: found for name, found in wrong.items() if found}


async def test_a_key_of_each_dialect_sees_the_same_job_in_its_own_shape(api: Gateway, account: str) -> None:
    api.http.headers["X-Reelay-Account"] = account
    made = await api.job(reconnect_time=30)
    native = (await api.http.get(f"/v1/jobs/{made['id']}")).json()
    async with await client(api, account, "jobs:write") as theirs:
        shown = (await theirs.get(f"/v1/jobs/{made['id']}")).json()["job"]
        assert (shown["id"], shown["stream"]["name"]) == (native["id"], native["stream_name"])
        again = [await theirs.post("/v1/jobs", json={}, headers={"Idempotency-Key": "one"}) for _ in range(2)]
        assert again[0].json()["id"] == again[1].json()["id"]
        ids = [job["id"] for job in (await theirs.get("/v1/jobs")).json()["jobs"]]
    assert ids == [made["id"], again[0].json()["id"]]
    listed = (await api.http.get("/v1/jobs")).json()["jobs"]
    assert [job["id"] for job in listed] == ids[::-1]
    assert isinstance(listed[0]["created_at"], int)


async def test_what_a_dialect_lacks_is_answered_natively(api: Gateway, account: str) -> None:
    api.http.headers["X-Reelay-Account"] = account
    async with await client(api, account, "webhooks", "jobs:read") as theirs:
        assert (await theirs.get("/v1/webhooks")).status_code == 200
        assert (await theirs.get("/v1/openapi.json")).status_code == 200
        job = await api.job()
        read = (await theirs.get(f"/v1/jobs/{job['id']}")).json()["job"]
        assert read["stream"]["name"] is None, "a key that may not write jobs sees no stream key"
        elsewhere = await theirs.get("/v1/ssai/applications")
        assert (elsewhere.status_code, elsewhere.json()["error_code"]) == (404, "RESOURCE_NOT_FOUND")
        wrong = await theirs.patch("/v1/jobs")
        assert (wrong.status_code, wrong.json()["error_code"]) == (405, "METHOD_NOT_ALLOWED")


async def test_a_slash_at_the_end_of_a_path_changes_nothing(api: Gateway, account: str) -> None:
    """Clients in use make jobs at `/v1/jobs/`."""
    api.http.headers["X-Reelay-Account"] = account
    async with await client(api, account, "jobs:write") as theirs:
        made = await theirs.post("/v1/jobs/", json={})
        assert made.status_code == 200, made.text
        assert (await theirs.get(f"/v1/jobs/{made.json()['id']}/")).json()["job"]["id"] == made.json()["id"]
        assert [job["id"] for job in (await theirs.get("/v1/jobs/?page_size=5")).json()["jobs"]] == [made.json()["id"]]
        assert (await theirs.get("/v1/jobs//")).status_code == 404
    assert (await api.http.get("/v1/jobs/")).status_code == 404


async def test_who_may_not_is_told_in_the_dialect_of_the_key(api: Gateway, account: str) -> None:
    refused = {"error_code": "FORBIDDEN", "message": "this needs a key with the scope jobs:write", "request_id": "<id>"}
    async with await client(api, account, "vods:read") as theirs:
        denied = await theirs.post("/v1/jobs", json={})
        assert (denied.status_code, differences(refused, denied.json())) == (403, [])
        foreign = await theirs.get("/v1/vods", headers={"X-Reelay-Account": "other"})
        assert (foreign.status_code, foreign.json()["error_code"]) == (403, "FORBIDDEN")
        theirs.headers["X-API-KEY"] = "rl_unknown"
        unknown = await theirs.get("/v1/jobs")  # nobody's key has no dialect: both forms at once
    assert (unknown.status_code, unknown.json()["error_code"]) == (401, "UNAUTHORIZED")
    assert unknown.json()["error"] == unknown.json()["message"] == "the API key is unknown, expired or revoked"
    assert unknown.headers["WWW-Authenticate"] == 'Bearer realm="reelay"'


async def test_the_dialect_of_a_key_is_set_and_shown(
    api: Gateway, account: str, nats: NatsServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = await make_key(api, "jobs:read", account=account, dialect="brightcove")
    assert made["dialect"] == "brightcove"
    monkeypatch.setenv("REELAY_NATS_URL", nats.url)
    command = ["create", "--scope", "jobs:read", "--account", account, "--dialect", "brightcove"]
    assert await asyncio.to_thread(keys_cli.main, command) == 0
    key = capfd.readouterr().out.split()[-1]
    assert (await with_key(api, key, "GET", "/v1/jobs")).json() == {"jobs": [], "next_token": None, "start_token": None}
    assert (await make_key(api, "jobs:read", account=account))["dialect"] == "native"
    listed = (await api.http.get("/v1/keys", headers={"X-Reelay-Account": account})).json()["keys"]
    assert [key["dialect"] for key in listed] == ["brightcove", "brightcove", "native"]
    assert await asyncio.to_thread(keys_cli.main, ["list", "--account", account]) == 0
    rows = [line for line in capfd.readouterr().out.splitlines() if f"  {account}  " in line]
    assert [row.split()[-1] for row in rows] == ["brightcove", "brightcove", "native"]
    wrong = await api.http.post("/v1/keys", json={"scopes": ["jobs:read"], "dialect": "latin"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "dialect")


def test_the_record_of_an_older_key_is_native() -> None:
    old = {"account": "main", "key_id": "0" * 32, "scopes": ["admin"], "created_ms": 1}
    assert ApiKeyRecord.model_validate(old).dialect == "native"
