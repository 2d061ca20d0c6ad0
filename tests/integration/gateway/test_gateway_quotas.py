"""What an account may ask for: requests in a time, numbers of things, and that others do not notice."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.gateway.domain import quotas
from services.gateway.identity import cdn_accounts as accounts
from shared.broker.kv import Bucket
from shared.broker.streams import commands_of
from shared.runtime.clock import SystemClock
from tests.support.api_gateway import Gateway, gateway, until
from tests.support.cdn_customer import Customer, a_start, customer_of
from tests.support.nats import NatsServer

BURST = quotas.BURST // timedelta(seconds=1)


async def key_of(api: Gateway, account: str, *scopes: str) -> dict[str, str]:
    made = await api.http.post("/v1/keys", json={"scopes": scopes or ["admin"], "account": account})
    return {"X-API-KEY": made.json()["key"]}


def is_refused(answer: httpx.Response, code: str = "QUOTA_EXCEEDED") -> bool:
    """Tell whether an answer is a 429 as it is documented."""
    if answer.status_code != 429:
        return False
    assert answer.json()["error_code"] == code
    assert int(answer.headers["retry-after"]) >= 1
    return True


async def test_requests_of_an_account_are_bounded_and_another_s_are_not(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, account_rate=2) as api:
        greedy, other = await key_of(api, "greedy"), await key_of(api, "other")
        second = await key_of(api, "greedy", "jobs:read")
        answers = [await api.http.get("/v1/jobs", headers=greedy) for _ in range(2 * BURST + 20)]
        refused = [is_refused(answer, "RATE_LIMITED") for answer in answers]
        assert refused[: 2 * BURST] == [False] * 2 * BURST
        assert refused[-1]
        assert is_refused(await api.http.get("/v1/jobs", headers=second), "RATE_LIMITED"), "by account, not by key"
        assert (await api.http.get("/v1/jobs", headers=other)).status_code == 200
        assert (await api.http.get("/healthz")).status_code == 200

        async def again() -> bool:
            return (await api.http.get("/v1/jobs", headers=greedy)).status_code == 200

        await until(again)


@pytest.mark.parametrize(("account", "status"), [("another", 403), ("No Account", 400)])
async def test_requests_that_are_refused_for_their_account_count(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: str, status: int
) -> None:
    async with gateway(nats, tmp_path, account_rate=1) as api:
        monkeypatch.setattr(SystemClock, "monotonic_ns", lambda _: 0)
        scope = "jobs:read" if status == 403 else "admin"
        headers = await key_of(api, f"refused-{status}", scope) | {"X-Reelay-Account": account}
        answers = [await api.http.get("/v1/jobs", headers=headers) for _ in range(BURST + 5)]
        assert [answer.status_code for answer in answers[:BURST]] == [status] * BURST
        assert all(is_refused(answer, "RATE_LIMITED") for answer in answers[BURST:])


async def test_what_is_signed_but_comes_too_fast_at_the_cdnetworks_api_uses_up_no_r(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(nats, tmp_path, account_rate=1) as api:
        now = [0]
        monkeypatch.setattr(SystemClock, "monotonic_ns", lambda _: now[0])
        made = await api.http.post("/v1/cdn-accounts", json={"account": "fast"})
        customer = Customer(api, "fast", made.json()["key"])
        spent = [await customer.send({"cmd": "none"}, r=str(n)) for n in range(BURST + 3)]
        statuses = [answer.status_code for answer in spent]
        assert statuses[-3:] == [429] * 3
        taken = len(statuses) - statuses.count(429)
        kept = Bucket(api.js, "nonces", accounts.UsedRandom)
        assert len(await kept.items()) == taken
        now[0] = 10**12
        again = await customer.send({"cmd": "none"}, r=str(len(spent) - 1))
        assert again.status_code == 400, "as it would have been answered before, not as used"


async def test_unknown_keys_are_not_looked_up_without_end_and_known_ones_go_on(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(nats, tmp_path) as api:
        monkeypatch.setattr(SystemClock, "monotonic_ns", lambda _: 0)
        asked, get = [], Bucket.get

        async def counted(self: Bucket[Any], key: str) -> Any:
            asked.append(key)
            return await get(self, key)

        monkeypatch.setattr(Bucket, "get", counted)
        wrong = [await api.http.get("/v1/jobs", headers={"X-API-KEY": f"rl_wrong{n}"}) for n in range(60)]
        allowed = quotas.UNKNOWN_KEYS
        assert [answer.status_code for answer in wrong[:allowed]] == [401] * allowed
        assert all(is_refused(answer, "RATE_LIMITED") for answer in wrong[allowed:])
        assert len(asked) == allowed
        assert (await api.http.get("/v1/jobs")).status_code == 200


async def test_live_jobs_are_counted_until_they_end(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, account_jobs=3) as api:
        headers = await key_of(api, "few")
        made = await asyncio.gather(*(api.http.post("/v1/jobs", json={}, headers=headers) for _ in range(10)))
        jobs = [answer.json()["id"] for answer in made if answer.status_code == 201]
        assert len(jobs) == 3
        assert all(is_refused(answer) for answer in made if answer.status_code != 201)
        assert (await api.http.post("/v1/jobs", json={})).status_code == 201, "another account's"
        assert (await api.http.put(f"/v1/jobs/{jobs[0]}/cancel", headers=headers)).status_code == 200

        async def one_more() -> bool:
            return (await api.http.post("/v1/jobs", json={}, headers=headers)).status_code == 201

        await until(one_more)
        assert is_refused(await api.http.post("/v1/jobs", json={}, headers=headers))


async def test_a_repeated_request_is_answered_though_there_is_no_room(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, account_jobs=1) as api:
        headers = await key_of(api, "one") | {"Idempotency-Key": "a"}
        first = await api.http.post("/v1/jobs", json={}, headers=headers)
        again = await api.http.post("/v1/jobs", json={}, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json()["id"] == again.json()["id"]
        assert is_refused(await api.http.post("/v1/jobs", json={}, headers=headers | {"Idempotency-Key": "b"}))


async def test_clips_in_work_are_counted_from_the_order_on(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, account_clips=5, outputs=4) as api:
        job = (await api.job())["id"]
        await api.publish(job)

        async def order(count: int, key: str = "") -> httpx.Response:
            headers = {"Idempotency-Key": key} if key else {}
            outputs = [{"stream_start_time": 1, "stream_end_time": 2 + n} for n in range(count)]
            return await api.http.post(f"/v1/jobs/{job}/vods", json={"outputs": outputs}, headers=headers)

        assert (await order(5)).status_code == 400, "too many in one request"
        first = await order(4, "a")
        assert first.status_code == 201
        assert is_refused(await order(2))
        assert (await order(1)).status_code == 201
        assert is_refused(await order(1))
        assert (await order(4, "a")).json() == first.json()
        clip = first.json()["vod_jobs"][0]["jvod_id"]
        command = await api.command(clip)
        await api.js().purge_stream(commands_of("clipper"), subject=f"clips.create.main.{clip}")
        await api.write_clip(command, state="processing")
        assert is_refused(await order(1)), "the clipper has it"
        await api.write_clip(command, state="finished")

        async def room() -> bool:
            return (await order(1)).status_code == 201

        await until(room)
        assert (await order(4, "a")).json() == first.json()


async def test_restreams_and_webhooks_are_counted(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path, account_restreams=2, account_webhooks=2, allow_nets="127.0.0.0/8") as api:
        restream = {
            "sources": [{"url": "http://127.0.0.1:9/a.mp4"}],
            "targets": [{"url": "rtmp://127.0.0.1:9/live/x"}],
        }
        webhook = {"url": "http://127.0.0.1:9/hook", "events": ["*"]}
        for path, body in (("/v1/restreams", restream), ("/v1/webhooks", webhook)):
            answers = [await api.http.post(path, json=body) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [201, 201, 429, 429], answers[0].text
            assert is_refused(answers[-1])
            headers = await key_of(api, "other")
            assert (await api.http.post(path, json=body, headers=headers)).status_code == 201


async def test_unsigned_calls_of_the_cdnetworks_api_are_bounded_before_the_broker_is_asked(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "UNKNOWN_AGAIN", timedelta(hours=1))
    async with customer_of(nats, tmp_path) as customer:
        asked, get = [], Bucket.get

        async def counted(self: Bucket[Any], key: str) -> Any:
            asked.append(key)
            return await get(self, key)

        monkeypatch.setattr(Bucket, "get", counted)
        wrong = [await customer.send(a_start(), n=f"nobody-{n}") for n in range(20)]
        wrong += [await customer.send(a_start(), k="0" * 32) for _ in range(40)]
        allowed = quotas.UNKNOWN_KEYS
        assert [answer.status_code for answer in wrong[:allowed]] == [403] * allowed
        assert {answer.status_code for answer in wrong[allowed:]} == {429}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in wrong[allowed:])
        assert len([key for key in asked if key.startswith("cdn.")]) == allowed
        assert (await customer.send(a_start())).status_code == 200, "who signs is not held up by who does not"


async def test_an_account_has_at_most_a_hundred_names_at_the_cdnetworks_api(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST", 3)
    async with gateway(nats, tmp_path) as api:
        headers = {"X-API-KEY": api.admin, "X-Reelay-Account": "cdn-names"}
        made = [
            await api.http.post("/v1/cdn-accounts", json={"account": f"{tmp_path.name[:40]}-{n}"}, headers=headers)
            for n in range(4)
        ]
        assert [answer.status_code for answer in made] == [201, 201, 201, 409]
        listed = (await api.http.get("/v1/cdn-accounts", headers=headers)).json()["accounts"]
        assert [account["n"] for account in listed] == [answer.json()["n"] for answer in made[:3]]
        assert (await api.http.delete(f"/v1/cdn-accounts/{listed[0]['n']}", headers=headers)).status_code == 204
        assert len((await api.http.get("/v1/cdn-accounts", headers=headers)).json()["accounts"]) == 2
