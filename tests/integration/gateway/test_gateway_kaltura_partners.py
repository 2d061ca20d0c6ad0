"""Partners of the Kaltura API: made once, removed at once, sealed at rest."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway.identity.partners import PartnerRecord
from shared.broker.kv import Bucket
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer

PATH = "/v1/kaltura-partners"


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path) as running:
        yield running


async def test_a_partner_is_made_once_and_its_number_stays_its_accounts(api: Gateway) -> None:
    first = await api.http.post(PATH, json={"account": "club"})
    assert first.status_code == 201
    number, secret = first.json()["partner_id"], first.json()["secret"]
    assert isinstance(number, int)
    assert 0 < number < 2**31
    assert (await api.http.post(PATH, json={"account": "club"})).status_code == 409
    (stored,) = await Bucket(api.js, "keys", PartnerRecord).items("partner")
    assert secret not in stored.value.model_dump_json()
    listed = (await api.http.get(PATH)).json()["partners"]
    assert [(one["partner_id"], one["account"]) for one in listed] == [(number, "club")]
    assert secret not in (await api.http.get(PATH)).text
    assert (await api.http.delete(f"{PATH}/{number}")).status_code == 204
    assert (await api.http.delete(f"{PATH}/{number}")).status_code == 404
    assert (await api.http.get(PATH)).json()["partners"] == []
    again = (await api.http.post(PATH, json={"account": "club"})).json()
    assert again["partner_id"] == number
    assert again["secret"] != secret
    assert (await api.http.post(PATH, json={"account": "other"})).json()["partner_id"] != number


async def test_a_repeated_request_is_answered_as_the_first(api: Gateway) -> None:
    key = {"Idempotency-Key": "one"}
    made = [(await api.http.post(PATH, json={"account": "again"}, headers=key)).json() for _ in range(2)]
    assert made[0] == made[1]
    engines = await api.http.post(PATH, json={"media_server": True})
    assert (engines.status_code, engines.json()["partner_id"]) == (201, -5)
    assert (await api.http.post(PATH, json={"media_server": True})).status_code == 409
    for wrong in ({}, {"account": "a", "media_server": True}, {"account": "No Account"}):
        assert (await api.http.post(PATH, json=wrong)).status_code == 400
