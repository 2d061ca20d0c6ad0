"""Every route with every scope, and none; accounts apart where one could take another's place."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, get_args

import httpx
import pytest

from services.gateway.app import openapi_document
from shared.messages.keys import Scope
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer

OPEN: Final = {"GET /healthz", "GET /readyz", "GET /v1/openapi.json"}
"""Anybody's, by what they are for."""
SIGNED: Final = {"POST /api/cdn/v2/forwardRequest.action"}
"""Opened by a signature; a key is neither needed nor of use. So is everything below /play/."""
ROUTES: Final = {
    "jobs:read jobs:write": ["GET /v1/jobs", "GET /v1/jobs/{job_id}", "GET /v1/jobs/{job_id}/rtmpouts"],
    "jobs:write": [
        "POST /v1/jobs", "PUT /v1/jobs/{job_id}/stop", "PUT /v1/jobs/{job_id}/cancel", "DELETE /v1/jobs/{job_id}",
        "DELETE /v1/jobs/{job_id}/recording", "PUT /v1/jobs/{job_id}/activate", "PUT /v1/jobs/{job_id}/deactivate",
        "POST /v1/jobs/{job_id}/rtmpouts", "PUT /v1/jobs/{job_id}/rtmpouts/{output_id}/stop",
    ],
    "vods:read vods:write": [
        "GET /v1/vods", "GET /v1/vods/{jvod_id}", "GET /v1/jobs/{job_id}/vods", "GET /v1/library",
        "GET /v1/library/{name}",
    ],
    "vods:write": [
        "POST /v1/vods", "POST /v1/jobs/{job_id}/vods", "PUT /v1/vods/{jvod_id}/cancel", "DELETE /v1/vods/{jvod_id}",
        "DELETE /v1/vods/{jvod_id}/destinations/{export_id}", "DELETE /v1/library/{name}",
    ],
    "vods:read vods:write playback": [
        "GET /v1/vods/{jvod_id}/media.mp4", "GET /v1/vods/{jvod_id}/images/{name}", "GET /v1/vods/{clip}/playlist.m3u8",
        "GET /v1/vods/{clip}/hls/{track}", "GET /v1/vods/{clip}/hls/{session}/{track}/{file}",
    ],
    "jobs:read jobs:write playback": [
        "POST /v1/jobs/{event}/playback", "GET /v1/jobs/{event}/hls/index.m3u8", "GET /v1/jobs/{event}/hls/dvr.m3u8",
        "GET /v1/jobs/{event}/hls/{playlist}", "GET /v1/jobs/{event}/hls/{session}/{track}/{file}",
        "GET /v1/jobs/{event}/image",
    ],
    "restreams:read restreams:write": ["GET /v1/restreams", "GET /v1/restreams/{restream_id}"],
    "restreams:write": [
        "POST /v1/restreams", "PUT /v1/restreams/{restream_id}/sources", "PUT /v1/restreams/{restream_id}/targets",
        "PUT /v1/restreams/{restream_id}/pause", "PUT /v1/restreams/{restream_id}/resume",
        "PUT /v1/restreams/{restream_id}/skip", "PUT /v1/restreams/{restream_id}/seek",
        "PUT /v1/restreams/{restream_id}/stop",
    ],
    "credentials": [
        "GET /v1/credentials", "POST /v1/credentials", "GET /v1/credentials/{credential_id}",
        "PUT /v1/credentials/{credential_id}", "DELETE /v1/credentials/{credential_id}",
        "POST /v1/credentials/{credential_id}/test",
    ],
    "webhooks": [
        "GET /v1/webhooks", "POST /v1/webhooks", "GET /v1/webhooks/notification-secret", "GET /v1/webhooks/deliveries",
        "GET /v1/webhooks/deliveries/{delivery_id}", "POST /v1/webhooks/deliveries/{delivery_id}/replay",
        "GET /v1/webhooks/{webhook_id}", "PUT /v1/webhooks/{webhook_id}", "DELETE /v1/webhooks/{webhook_id}",
        "POST /v1/webhooks/{webhook_id}/secret",
    ],
    "": [
        "GET /v1/keys", "POST /v1/keys", "DELETE /v1/keys/{key_id}", "GET /v1/cdn-accounts", "POST /v1/cdn-accounts",
        "DELETE /v1/cdn-accounts/{name}", "GET /v1/kaltura-partners", "POST /v1/kaltura-partners",
        "DELETE /v1/kaltura-partners/{partner_id}",
    ],
}  # fmt: skip
"""Which scopes open which routes, besides `admin`, which opens all."""
OPENED_BY: Final = {route: set(scopes.split()) | {"admin"} for scopes, routes in ROUTES.items() for route in routes}


def all_routes() -> set[str]:
    """Give the routes as they are published."""
    paths = openapi_document()["paths"]
    return {f"{method.upper()} {path}" for path, item in paths.items() for method in item}


def filled(path: str) -> str:
    """Put a value that is nobody's into each place of a path."""
    ids = {
        "job_id", "jvod_id", "event", "restream_id", "webhook_id", "delivery_id", "key_id", "session", "export_id",
        "clip", "output_id",
    }  # fmt: skip
    for name in ids:
        path = path.replace(f"{{{name}}}", "0" * 32)
    return path.format(
        name="nobody",
        partner_id="1",
        credential_id="nobody",
        playlist="primary-1-live.m3u8",
        track="primary",
        file="1.m4s",
        token="x",
    )


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, account_rate=0) as running:
        yield running


def test_the_table_holds_every_route() -> None:
    known = set(OPENED_BY) | OPEN | SIGNED
    assert {route for route in all_routes() if " /play/" not in route} == known


async def test_a_route_is_opened_by_its_scopes_alone(api: Gateway) -> None:
    keys = {}
    for scope in get_args(Scope):
        made = await api.http.post("/v1/keys", json={"scopes": [scope], "account": "scoped"})
        keys[scope] = {"X-API-KEY": made.json()["key"]}
    async with httpx.AsyncClient(base_url=api.parts.public.base, timeout=30) as client:
        for route, scopes in sorted(OPENED_BY.items()):
            method, path = route.split()
            body: Any = {} if method in {"POST", "PUT"} else None
            methods = [method, "HEAD"] if method == "GET" else [method]
            for one in methods:
                for scope, headers in {**keys, "none": {}}.items():
                    answer = await client.request(one, filled(path), headers=headers, json=body)
                    if one == "HEAD" and answer.status_code == 405:
                        continue
                    expected = 401 if scope == "none" else None if scope in scopes else 403
                    found = answer.status_code if answer.status_code in {401, 403} else None
                    assert found == expected, f"{one} {path} with {scope}: {answer.status_code} {answer.text[:200]}"


async def test_what_is_open_is_open_and_what_is_signed_needs_its_signature(api: Gateway) -> None:
    async with httpx.AsyncClient(base_url=api.parts.public.base, timeout=30) as client:
        for route in OPEN:
            assert (await client.get(route.split()[1])).status_code == 200, route
        admin = {"X-API-KEY": api.admin}
        signed = sorted(SIGNED | {route for route in all_routes() if " /play/" in route})
        assert len(signed) == 8
        for route in signed:
            method, path = route.split()
            answer = await client.request(method, filled(path), headers=admin)
            assert answer.status_code == 403, f"{route}: {answer.status_code}"


async def test_one_idempotency_key_of_two_accounts_names_two_things(api: Gateway) -> None:
    """The same key and body: neither gets the other's, and each gets its own again."""
    seen: dict[str, str] = {}
    for account in ("one", "two", "one", "two"):
        headers = {"Idempotency-Key": "same", "X-Reelay-Account": account}
        answer = await api.http.post("/v1/jobs", json={"name": "same"}, headers=headers)
        assert answer.status_code == 201
        job = answer.json()
        assert job["account_id"] == account
        assert seen.setdefault(account, job["id"]) == job["id"]
    assert seen["one"] != seen["two"]
    for account, other in (("one", "two"), ("two", "one")):
        headers = {"X-Reelay-Account": account}
        assert (await api.http.get(f"/v1/jobs/{seen[other]}", headers=headers)).status_code == 404


async def test_idempotency_keys_of_two_accounts_name_two_clips_and_restreams(api: Gateway) -> None:
    clips, restreams = set(), set()
    restream = {"sources": [{"url": "https://example.com/a.mp4"}], "targets": [{"url": "rtmp://example.com/live/x"}]}
    for account in ("one", "two"):
        headers = {"Idempotency-Key": "same", "X-Reelay-Account": account}
        job = (await api.http.post("/v1/jobs", json={}, headers=headers)).json()["id"]
        await api.publish(job, account=account)
        outputs = [{"stream_start_time": 1, "stream_end_time": 2}]
        for _ in range(2):
            made = await api.http.post(f"/v1/jobs/{job}/vods", json={"outputs": outputs}, headers=headers)
            clips.add(made.json()["vod_jobs"][0]["jvod_id"])
            ordered = await api.http.post("/v1/restreams", json=restream, headers=headers)
            assert ordered.status_code == 201, ordered.text
            restreams.add(ordered.json()["id"])
    assert (len(clips), len(restreams)) == (2, 2)


CREATIONS: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("/v1/webhooks", {"url": "https://example.com/hook"}, "id"),
    ("/v1/keys", {"scopes": ["vods:read"]}, "id"),
    ("/v1/cdn-accounts", {"account": "league"}, "key"),
    ("/v1/jobs", {"name": "x"}, "id"),
]


async def test_whatever_is_created_is_created_once_for_a_key(api: Gateway) -> None:
    """Secrets, too, come again: the first answer may have been lost."""
    for path, body, ident in CREATIONS:
        headers = {"X-Reelay-Account": "repeats", "Idempotency-Key": "k"}
        both = [await api.http.post(path, json=body, headers=headers) for _ in range(2)]
        assert [a.status_code for a in both] == [201, 201], (path, both[1].text)
        if path != "/v1/jobs":  # its playback URL has a time in it
            assert both[0].json() == both[1].json()
        changed = {
            **body,
            **({"account": "cup"} if "account" in body else {"description": "y", "label": "y", "region": "y"}),
        }
        other = await api.http.post(path, json=changed, headers=headers)
        assert other.status_code == 201
        assert other.json()[ident] != both[0].json()[ident]
        listed = (await api.http.get(path, headers=headers)).json()
        assert len(next(iter(listed.values()))) == 2
    revoked = await api.http.post("/v1/keys", json=CREATIONS[1][1], headers={"Idempotency-Key": "r"})
    assert (await api.http.delete(f"/v1/keys/{revoked.json()['id']}")).status_code == 204
    again = await api.http.post("/v1/keys", json=CREATIONS[1][1], headers={"Idempotency-Key": "r"})
    assert again.status_code == 409
