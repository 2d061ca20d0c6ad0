"""CDNetworks' API over HTTP: who may call: signatures and accounts."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.gateway.identity.cdn_accounts import CdnAccounts, Refused, UsedRandom, signature
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from tests.support.archive import SetClock
from tests.support.cdn_customer import Customer, a_start, customer_of
from tests.support.nats import NatsServer


@pytest.fixture
async def customer(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Customer]:
    async with customer_of(nats, tmp_path) as made:
        yield made


def test_the_page_s_own_example_of_a_signature() -> None:
    assert signature("1409284800", "012f37a3f2952") == "b9fed80be752551834eec3e52fa94115"


async def test_an_r_is_spent_for_the_keys_life(customer: Customer) -> None:
    """The bucket has no time after which an old request would be good again; with the name, all of it goes."""
    js, name = customer.api.js, hashlib.sha256(customer.name.encode()).hexdigest()
    used = Bucket(js, "nonces", UsedRandom)
    assert (await customer.send(a_start())).status_code == 200
    assert not (await (await js().key_value("nonces")).status()).ttl
    assert len(await used.items(name)) == 1
    assert (await customer.api.http.delete(f"/v1/cdn-accounts/{customer.name}")).status_code == 204
    assert not await used.items(name)


async def test_with_a_window_r_is_the_present_time(customer: Customer) -> None:
    clock = SetClock()
    accounts = CdnAccounts(customer.api.js, customer.api.parts.service.vault, clock, timedelta(seconds=60))
    now = clock.now_ms() // 1000

    def verified(r: str, key: str = customer.key) -> Awaitable[str]:
        return accounts.verify(customer.name, r, signature(r, key))

    for good in (now, now - 60, now + 60):
        assert await verified(str(good)) == "main"
    for bad in (str(now - 61), str(now + 61), "abc", "\u0661\u0662"):
        with pytest.raises(Refused, match="present time"):
            await verified(bad)
    with pytest.raises(Refused, match="n or k"):  # who has no key does not learn of the window
        await verified("abc", "another")


async def test_who_is_not_let_in(customer: Customer) -> None:
    body = json.dumps(a_start())
    assert (await customer.send(body, r="abc")).status_code == 200
    for query, why in (
        ({"r": "abc"}, "used before"),
        ({"k": "0" * 32}, "n or k is wrong"),
        ({"n": "nobody"}, "n or k is wrong"),
        ({"r": ""}, "r must have"),
        ({"r": "12345678901"}, "r must have"),
        ({"n": "x" * 1000}, "n or k is wrong"),
        ({"k": "\u00e9" * 32}, "n or k is wrong"),
    ):
        answer = await customer.send(body, **query)
        assert answer.status_code == 403, query
        assert answer.json()["http_code"] == "403"
        assert why in answer.json()["msg"]
    upper = signature("up", customer.key).upper()
    assert (await customer.send(body, r="up", k=upper)).status_code == 200


async def test_accounts_are_made_listed_and_removed(customer: Customer) -> None:
    api = customer.api
    assert (await api.http.post("/v1/cdn-accounts", json={"account": customer.name})).status_code == 409
    listed = (await api.http.get("/v1/cdn-accounts")).json()["accounts"]
    assert customer.name in [a["n"] for a in listed]
    assert customer.key not in json.dumps(listed)
    name, key = f"{customer.name[:50]}-old", "012f37a3f2952"  # one that its clients have already
    brought = await api.http.post("/v1/cdn-accounts", json={"account": name, "key": key})
    assert brought.json() == {"n": name, "key": key}
    assert (await Customer(api, name, key).send(a_start())).status_code == 200
    elsewhere = {"X-Reelay-Account": "other"}
    gone = await api.http.delete(f"/v1/cdn-accounts/{customer.name}", headers=elsewhere)
    assert gone.status_code == 404
    assert (await api.http.delete(f"/v1/cdn-accounts/{customer.name}")).status_code == 204
    assert (await customer.send(a_start())).status_code == 403


async def test_an_account_whose_answer_was_lost_can_be_asked_for_again(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker takes the record, but says so too late."""
    create, late = Bucket.create, [True]

    async def slow(self: Bucket[Any], key: str, value: Any) -> int:
        revision = await create(self, key, value)
        if key.startswith("cdn.") and late.pop():
            raise Unavailable("too late")
        return revision

    async with customer_of(nats, tmp_path) as customer:
        monkeypatch.setattr(Bucket, "create", slow)

        async def ask(**fields: Any) -> int:
            body = {"account": "again", "key": "0123456789abcdef", **fields}
            return (await customer.api.http.post("/v1/cdn-accounts", json=body)).status_code

        late[:] = [False] * 9 + [True]
        assert [await ask(), await ask()] == [503, 201]
        assert await ask(key="another-key-of-16") == 409
        assert await ask(key=None) == 409
        other = {"X-Reelay-Account": "other"}
        body = {"account": "again", "key": "0123456789abcdef"}
        assert (await customer.api.http.post("/v1/cdn-accounts", json=body, headers=other)).status_code == 409
        again = Customer(customer.api, "again", "0123456789abcdef")
        assert (await again.send({"cmd": "none"})).status_code == 400, "signed, and understood as far as that"
