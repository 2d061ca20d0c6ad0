"""What callbacks repeat is stored once before its command is sent, for as long as anything names it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.domain.errors import TooLarge
from services.gateway.domain.subscriptions.contexts import Contexts
from services.gateway.domain.subscriptions.sweep import KEPT, Sweep
from shared.broker.kv import Bucket
from shared.broker.streams import EVENTS, STREAMS, commands_of
from shared.messages.restream_commands import RestreamCommand
from shared.messages.restreams import RestreamRecord
from shared.messages.subscriptions import Subscription, SubscriptionContext
from tests.support.cdn_customer import Customer, a_start, customer_of
from tests.support.nats import NatsServer
from tests.support.subscriptions import contexts

TOLD = {"transcallbackurl": "http://example.com/told"}
OLD_MS = int(KEPT.total_seconds() * 1000) + 1


@pytest.fixture
async def customer(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Customer]:
    async with customer_of(nats, tmp_path) as made:
        yield made


async def kept(customer: Customer) -> dict[str, SubscriptionContext]:
    return {stored.value.context: stored.value for stored in await contexts(customer.api.js()).items()}


def sweep_of(customer: Customer) -> Sweep:
    return Sweep(customer.api.js, customer.api.parts.restreams.contexts_named, customer.api.clock)


async def ordered(customer: Customer, ident: str = "t1", cmd: str = "1", **fields: Any) -> RestreamCommand:
    """Order something of a task with a callback; gives the command."""
    assert (await customer.send(a_start(ident, **fields) | TOLD | {"cmd": cmd})).status_code == 200
    command = await customer.command(ident)
    assert command is not None
    return command


async def applied(customer: Customer, start: RestreamCommand, told: Subscription | None = None) -> None:
    """Take a start up as the restreamer does, and then what named `told`."""
    assert start.spec is not None
    spec = start.spec.model_copy(update={"subscription": told or start.subscription})
    records = Bucket(customer.api.js, "restreams", RestreamRecord)
    record = RestreamRecord(
        account="main", restream=start.restream, spec=spec, state="playing", created_ms=1, changed_ms=1
    )
    await records.change(f"main.{start.restream}", lambda _: record)
    await customer.api.js().purge_stream(commands_of("restreamer"), subject=f"restreams.command.main.{start.restream}")


def named(command: RestreamCommand) -> str:
    assert command.subscription is not None
    assert command.subscription.context is not None
    return command.subscription.context


async def test_the_same_call_again_stores_nothing_new_and_another_one_touches_nothing(customer: Customer) -> None:
    first = named(await ordered(customer))
    (stored,) = (await kept(customer)).values()
    assert named(await ordered(customer)) == first
    assert await kept(customer) == {first: stored}
    other = named(await ordered(customer, cmd="3", src=[{"url": "http://example.com/b.mp4"}]))
    assert (await kept(customer)).keys() == {first, other}
    assert (await kept(customer))[first] == stored
    assert named(await ordered(customer, "t2")).partition(".")[0] != first.partition(".")[0]


@pytest.mark.parametrize(
    "refused",
    [
        a_start("no", start="1540216800000", end="1540220400000") | TOLD,
        a_start("no", extendParam={"liveEvent": "e" * 32}) | TOLD,
        a_start("no") | TOLD | {"cmd": "2"},
        a_start("no", src=[{"url": "http://example.com/" + "a" * 1500}] * 60) | TOLD,
    ],
    ids=["wrong times", "no such job", "no such task", "too long"],
)
async def test_a_call_that_is_refused_stores_nothing(customer: Customer, refused: dict[str, Any]) -> None:
    answer = await customer.send(refused)
    assert answer.status_code in {400, 404, 413}, answer.text
    assert await kept(customer) == {}


async def test_a_document_has_a_bound(customer: Customer) -> None:
    made = Contexts(customer.api.js, customer.api.parts.service.vault).made
    assert made("main", "4" * 32, {"text": "x" * 127_000}, "x")
    with pytest.raises(TooLarge):
        made("main", "4" * 32, {"text": "x" * 128_000}, "x")


async def test_what_a_waiting_command_or_a_record_names_stays(customer: Customer) -> None:
    command = await ordered(customer)
    for _ in range(2):
        await sweep_of(customer).sweep()
        customer.api.clock.ahead_ms += OLD_MS
    assert [c.unnamed_ms for c in (await kept(customer)).values()] == [None]
    await applied(customer, command)
    for _ in range(2):
        await sweep_of(customer).sweep()
        customer.api.clock.ahead_ms += OLD_MS
    assert [c.unnamed_ms for c in (await kept(customer)).values()] == [None]


async def test_what_a_resume_lies_over_stays(customer: Customer) -> None:
    started = await ordered(customer)
    resumed = await ordered(customer, cmd="5")
    assert started.subscription is not None
    assert resumed.subscription is not None
    await applied(customer, started, started.subscription.renewed(resumed.subscription))
    for _ in range(2):
        await sweep_of(customer).sweep()
        customer.api.clock.ahead_ms += OLD_MS
    assert (await kept(customer)).keys() == {named(started), named(resumed)}


async def test_what_was_replaced_stays_until_no_event_can_name_it(customer: Customer) -> None:
    first, second = await ordered(customer), await ordered(customer, cmd="3", src=[{"url": "http://example.com/b.mp4"}])
    await applied(customer, first, second.subscription)
    await sweep_of(customer).sweep()
    customer.api.clock.ahead_ms += OLD_MS - 1000
    await sweep_of(customer).sweep()
    assert (await kept(customer)).keys() == {named(first), named(second)}
    customer.api.clock.ahead_ms += 1000
    await asyncio.gather(*(sweep_of(customer).sweep() for _ in range(3)))  # three gateways
    assert (await kept(customer)).keys() == {named(second)}
    assert {spec.name: spec.max_age for spec in STREAMS}[EVENTS] < KEPT


@pytest.mark.parametrize("forgotten", [True, False], ids=["forgotten", "never sent"])
async def test_what_nobody_names_goes_in_the_end(customer: Customer, forgotten: bool) -> None:
    """Its restream's record was removed, or the gateway was killed before it sent the command."""
    command = await ordered(customer)
    if forgotten:
        await applied(customer, command)
        await Bucket(customer.api.js, "restreams", RestreamRecord).delete(f"main.{command.restream}")
    await customer.api.js().purge_stream(commands_of("restreamer"), subject="restreams.command.>")
    await sweep_of(customer).sweep()
    assert len(await kept(customer)) == 1
    customer.api.clock.ahead_ms += OLD_MS
    await sweep_of(customer).sweep()
    assert await kept(customer) == {}


async def test_what_is_called_for_again_is_new_again(customer: Customer) -> None:
    """The sweep has noted it long ago; then the same call comes."""
    await ordered(customer)
    await customer.api.js().purge_stream(commands_of("restreamer"), subject="restreams.command.>")
    await sweep_of(customer).sweep()
    ((name, noted),) = (await kept(customer)).items()
    assert noted.unnamed_ms
    customer.api.clock.ahead_ms += OLD_MS
    assert named(await ordered(customer)) == name
    await sweep_of(customer).sweep()
    assert (await kept(customer))[name].unnamed_ms is None


async def test_a_call_that_comes_between_look_and_removal_keeps_what_it_names(customer: Customer) -> None:
    """Whichever of both writes first."""
    command = await ordered(customer)
    await customer.api.js().purge_stream(commands_of("restreamer"), subject="restreams.command.>")
    await sweep_of(customer).sweep()
    customer.api.clock.ahead_ms += OLD_MS

    async def asked(account: str, restreams: Any) -> frozenset[str]:
        found = await customer.api.parts.restreams.contexts_named(account, restreams)
        await ordered(customer)
        return found

    await Sweep(customer.api.js, asked, customer.api.clock).sweep()
    assert (await kept(customer)).keys() == {named(command)}
    await sweep_of(customer).sweep()
    assert (await kept(customer))[named(command)].unnamed_ms is None
