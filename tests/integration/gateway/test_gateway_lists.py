"""Long lists over HTTP: pages are what the whole list is, and a page reads no more than it shows."""

import asyncio
import random
from typing import Any

import pytest

from shared.broker.kv import Bucket
from shared.messages.notifications import Attempt, DeliveryRecord
from tests.support.api_gateway import Gateway

MANY = 600
PATH = "/v1/webhooks/deliveries"


def delivery(account: str, number: int) -> DeliveryRecord:
    tries = (Attempt(at_ms=10_000 - number, status=200),) if number % 2 else ()
    return DeliveryRecord(
        account=account, delivery=f"{random.getrandbits(128):032x}", lane=f"{number:032x}", position=number,
        url="https://example.com", type="clips.state_changed", resource=f"r{number % 7}", payload={}, attempts=tries,
        state="dead" if number % 100 == 0 else "delivered", created_ms=1000 + number // 3, deadline_ms=0,
    )  # fmt: skip


def deliveries(api: Gateway) -> Bucket[DeliveryRecord]:
    return Bucket(api.js, "deliveries", DeliveryRecord)


async def put(api: Gateway, account: str, count: int = MANY) -> list[DeliveryRecord]:
    made = [delivery(account, number) for number in range(count)]
    await asyncio.gather(*(deliveries(api).create(f"{account}.{d.delivery}", d) for d in made))
    return made


async def walk(api: Gateway, account: str, **query: Any) -> list[str]:
    """Read a list page by page."""
    found: list[str] = []
    token = None
    while True:
        asked = {**query, "page_size": 97} | ({"start_token": token} if token else {})
        answer = await api.http.get(PATH, params=asked, headers={"X-Reelay-Account": account})
        assert answer.status_code == 200, answer.text
        found += [d["id"] for d in answer.json()["deliveries"]]
        token = answer.json()["next_token"]
        if token is None:
            return found


def expected(made: list[DeliveryRecord], *, by_change: bool, descending: bool) -> list[str]:
    def time(d: DeliveryRecord) -> tuple[int, str]:
        return (d.attempts[-1].at_ms if by_change and d.attempts else d.created_ms), d.delivery

    return [d.delivery for d in sorted(made, key=time, reverse=descending)]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("by_change", [True, False])
async def test_the_pages_are_the_list(api: Gateway, *, descending: bool, by_change: bool) -> None:
    account = f"walk-{int(descending)}{int(by_change)}"
    made = await put(api, account)
    order = {"sort": "modified_at" if by_change else "created_at", "sort_dir": "desc" if descending else "asc"}
    assert await walk(api, account, **order) == expected(made, by_change=by_change, descending=descending)
    some = [d for d in made if d.state == "delivered" and d.resource == "r3"]
    filtered = await walk(api, account, state="delivered", resource="r3", **order)
    assert filtered == expected(some, by_change=by_change, descending=descending)
    assert await walk(api, account, resource="none") == []


async def test_a_page_reads_what_it_shows_and_what_has_changed(api: Gateway) -> None:
    await put(api, "steps")
    headers = {"X-Reelay-Account": "steps"}
    await api.http.get(PATH, headers=headers)
    stats = api.js()._nc.stats
    for query in ({}, {"state": "dead"}, {"resource": "r1"}, {"sort": "modified_at"}):
        before = stats["in_msgs"]
        answer = await api.http.get(PATH, params={"page_size": 5, **query}, headers=headers)
        assert len(answer.json()["deliveries"]) == 5
        assert stats["in_msgs"] - before < 40, "answers of the broker, of which 5 are what is shown"


async def test_a_list_shows_what_was_written_and_removed_the_moment_before(api: Gateway) -> None:
    for _ in range(20):
        (one,) = await put(api, "fresh", 1)
        assert one.delivery in await walk(api, "fresh")
        await deliveries(api).delete(f"fresh.{one.delivery}")
        assert await walk(api, "fresh") == []


async def test_what_went_by_age_leaves_no_hole_in_the_pages(api: Gateway) -> None:
    """The broker removes what is too old without saying so."""
    made = expected(await put(api, "aged"), by_change=False, descending=True)
    assert len(await walk(api, "aged")) == MANY
    for ident in made[:200]:
        await api.js().purge_stream("KV_deliveries", subject=f"$KV.deliveries.aged.{ident}")
    assert await walk(api, "aged") == made[200:]


async def test_a_broker_that_lost_its_buckets_is_listed_anew(api: Gateway) -> None:
    await put(api, "lost", 5)
    assert len(await walk(api, "lost")) == 5
    js = api.js()
    config = (await js.stream_info("KV_deliveries")).config
    await js.delete_stream("KV_deliveries")
    await js.add_stream(config)
    made = await put(api, "lost", 2)
    assert await walk(api, "lost") == expected(made, by_change=False, descending=True)
