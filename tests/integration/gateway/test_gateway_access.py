"""API keys, accounts, scopes, limits, and what happens while the broker is away."""

import asyncio
import contextlib
import dataclasses
import json
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from services.gateway.http import server
from services.gateway.http.limits import BodyLimit
from services.gateway.http.problems import ApiError
from services.gateway.http.readiness import Readiness
from services.gateway.http.server import listen
from shared.runtime.service import check_all
from tests.support.api_gateway import Gateway, gateway, make_key, until, with_key
from tests.support.nats import NatsServer, nats_server

TENTH = timedelta(milliseconds=100)
CONTRACTS = Path(__file__).resolve().parents[3] / "contracts"


async def test_without_a_good_key_there_is_nothing(api: Gateway) -> None:
    async with httpx.AsyncClient(base_url=api.parts.public.base) as nobody:
        for headers in (
            {},
            {"X-API-KEY": ""},
            {"X-API-KEY": "rl_wrong"},
            {"X-API-KEY": "x" * 5000},
            {"Authorization": "Basic abc"},
            {"Authorization": "Bearer"},
        ):
            for path in (
                "/v1/jobs",
                "/v1/vods",
                f"/v1/vods/{'0' * 32}/media.mp4",
                "/v1/library",
                "/v1/webhooks",
                "/v1/keys",
            ):
                answer = await nobody.get(path, headers=headers)
                assert answer.status_code == 401, path
                assert answer.json()["error_code"] == "UNAUTHORIZED"
                assert "Bearer" in answer.headers["www-authenticate"]
        good = await nobody.get("/v1/jobs", headers={"Authorization": f"Bearer {api.admin}"})
        assert good.status_code == 200
        assert (await nobody.get("/healthz")).json() == {"status": "pass"}
        assert (await nobody.get("/readyz")).status_code == 200


async def test_however_many_ask_whether_it_is_ready_the_broker_is_asked_once_at_a_time(api: Gateway) -> None:
    asked, going, most = 0, 0, 0
    ready = partial(check_all, api.parts.service)

    async def counted() -> dict[str, str]:
        nonlocal asked, going, most
        asked, going = asked + 1, going + 1
        most = max(most, going)
        try:
            return await ready()
        finally:
            going -= 1

    api.web.state.parts[Readiness] = Readiness(counted, dict)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.web), base_url="http://gateway") as nobody:
        answers = await asyncio.gather(*(nobody.get("/readyz") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert most == 1
    assert asked < 50


async def test_the_api_s_description_needs_no_key(api: Gateway) -> None:
    answer = await api.http.get("/v1/openapi.json", headers={"X-API-KEY": ""})
    assert answer.json() == json.loads((CONTRACTS / "openapi.json").read_text())


async def test_json_is_kept_by_nobody_and_no_type_is_guessed(api: Gateway) -> None:
    """Refusals, too; the description of the API holds nothing of anybody's."""
    for path, key in (
        ("/v1/jobs", api.admin),
        ("/v1/jobs", "wrong"),
        ("/v1/jobs/x", api.admin),
        ("/nothing", ""),
        ("/healthz", ""),
    ):
        answer = await api.http.get(path, headers={"X-API-KEY": key})
        assert "json" in answer.headers["content-type"], path
        told = (answer.headers["x-content-type-options"], answer.headers.get("cache-control"))
        assert told == ("nosniff", "no-store"), path


async def test_scopes_open_what_they_name(api: Gateway) -> None:
    job = await api.job()
    reader = (await make_key(api, "jobs:read"))["key"]
    seen = (await with_key(api, reader, "GET", f"/v1/jobs/{job['id']}")).json()
    assert seen["stream_name"] is None
    assert seen["srt_url"] is None
    assert job["stream_name"] not in str(seen)
    for method, path in (
        ("POST", "/v1/jobs"), ("PUT", f"/v1/jobs/{job['id']}/stop"), ("POST", "/v1/vods"), ("GET", "/v1/vods"),
        ("GET", "/v1/webhooks"), ("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/library"),
    ):  # fmt: skip
        assert (await with_key(api, reader, method, path, json={})).status_code == 403, path
    writer = (await make_key(api, "jobs:write", "vods:write", "jobs:write"))["key"]
    assert (await with_key(api, writer, "GET", f"/v1/jobs/{job['id']}")).json()["stream_name"] == job["stream_name"]
    assert (await with_key(api, writer, "GET", "/v1/vods")).status_code == 200
    for bad in ({"scopes": []}, {"scopes": ["root"]}, {"scopes": ["admin"], "account": "A B"}, {"scopes": "admin"}):
        assert (await api.http.post("/v1/keys", json=bad)).status_code == 400
    past = {"scopes": ["admin"], "expires_at": 1}
    assert (await api.http.post("/v1/keys", json=past)).json()["errors"][0]["field"] == "expires_at"


async def test_a_key_acts_for_its_account_alone(api: Gateway) -> None:
    job = (await api.job())["id"]
    other = await make_key(api, "jobs:read", account="other")
    assert other["account"] == "other"
    assert (await with_key(api, other["key"], "GET", f"/v1/jobs/{job}")).status_code == 404
    headers = {"X-API-KEY": other["key"], "X-Reelay-Account": "main"}
    assert (await api.http.get("/v1/jobs", headers=headers)).status_code == 403
    assert (await api.http.get("/v1/jobs", headers={"X-Reelay-Account": "no such"})).status_code == 400
    assert (await api.http.get("/v1/jobs", headers={"X-Reelay-Account": "other"})).json()["jobs"] == []
    assert other["id"] not in str((await api.http.get("/v1/keys")).json())
    assert (await api.http.delete(f"/v1/keys/{other['id']}")).status_code == 404


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


async def test_while_the_broker_is_away_requests_are_put_off_and_afterwards_served(
    own_nats: NatsServer, tmp_path: Path
) -> None:
    async with gateway(own_nats, tmp_path / "data") as api:
        job = (await api.job())["id"]
        own_nats.kill()

        async def away() -> bool:
            return not api.js()._nc.is_connected

        await until(away)
        for method, path in (
            ("GET", f"/v1/jobs/{job}"),
            ("POST", "/v1/jobs"),
            ("GET", "/v1/vods"),
            ("GET", "/v1/keys"),
        ):
            answer = await api.http.request(method, path, json={})
            assert answer.status_code == 503, path
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error_code"] == "SERVICE_UNAVAILABLE"
        assert (await api.http.get("/healthz")).status_code == 200
        assert (await api.http.get("/readyz")).status_code == 503
        own_nats.start()

        async def back() -> bool:
            return (await api.http.get(f"/v1/jobs/{job}")).status_code == 200

        await until(back, 60)
        await api.publish(job)


async def test_bodies_are_bounded(api: Gateway) -> None:
    big = b'{"name": "' + b"x" * (1 << 20) + b'"}'

    async def chunked() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 65_536):
            yield big[start : start + 65_536]

    declared = await api.http.post("/v1/jobs", content=big)
    assert (declared.status_code, declared.json()["error_code"]) == (413, "BODY_TOO_LARGE")
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # the connection may be closed while we still send
        streamed = await api.http.post("/v1/jobs", content=chunked())
        assert streamed.status_code == 413
    assert (await api.http.get("/v1/jobs")).status_code == 200


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def silent() -> Any:
        await asyncio.Event().wait()

    async def nothing(message: Any) -> None:
        raise AssertionError(message)

    with pytest.raises(ApiError) as caught:
        await BodyLimit(app, within=TENTH / 2)({"type": "http", "headers": []}, silent, nothing)
    assert caught.value.status == 408


async def test_wrong_paths_methods_and_garbage_are_answered_as_problems(api: Gateway) -> None:
    for method, path, status, code in (
        ("GET", "/v1/nothing", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/", 404, "RESOURCE_NOT_FOUND"),
        ("DELETE", "/v1/jobs", 405, "METHOD_NOT_ALLOWED"),
        ("PATCH", "/v1/vods", 405, "METHOD_NOT_ALLOWED"),
    ):
        answer = await api.http.request(method, path)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
    for path, allowed in (("/v1/vods", "GET, POST"), ("/v1/jobs/x", "DELETE, GET"), ("/v1/keys/x", "DELETE")):
        assert (await api.http.patch(path)).headers["allow"] == allowed, path
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.parts.public.base.rsplit(":", 1)[1]))
    writer.write(b"\x16\x03\x01\x02\x00" * 50 + b"\r\n\r\n")
    assert b"400" in await asyncio.wait_for(reader.read(100), 10)
    writer.close()
    assert (await api.http.get("/healthz")).status_code == 200


def test_a_taken_port_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])


async def test_peers_that_send_no_request_or_read_no_answer_are_let_go(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        server, "LIMITS", dataclasses.replace(server.LIMITS, head_within=2 * TENTH, stall_interval=2 * TENTH)
    )
    async with gateway(nats, tmp_path) as api:
        await _let_go(api)


async def _let_go(api: Gateway) -> None:
    port = int(api.parts.public.base.rsplit(":", 1)[1])
    for beginning in (b"", b"GET /healthz HTTP/1.1\r\nX-A: ", b"GET /healthz HTTP/1.1\r\nX-A: " + b"x" * 70_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(beginning)
        with contextlib.suppress(ConnectionResetError):
            said = await asyncio.wait_for(reader.read(), 20)
            assert said[:12] in {b"", b"HTTP/1.1 408", b"HTTP/1.1 431"}
        writer.close()
    folder = api.folder / "library" / "main"
    folder.mkdir(parents=True)
    (folder / "big.mp4").write_bytes(b"x" * 30_000_000)
    with socket.create_connection(("127.0.0.1", port)) as stopped:
        stopped.sendall(f"GET /v1/library/big.mp4 HTTP/1.1\r\nHost: x\r\nX-API-KEY: {api.admin}\r\n\r\n".encode())
        stopped.setblocking(False)

        def held() -> bool:
            connections = psutil.Process().net_connections("tcp")
            return any(c.laddr and c.laddr.port == port and c.raddr == stopped.getsockname() for c in connections)

        async def let_go() -> bool:
            return not await asyncio.to_thread(held)

        async def taken() -> bool:
            with contextlib.suppress(BlockingIOError):  # it may not even be accepted yet
                return b"200" in stopped.recv(64, socket.MSG_PEEK)
            return False

        await until(taken)
        await until(let_go)
    assert (await api.http.get("/v1/library/big.mp4")).status_code == 200
