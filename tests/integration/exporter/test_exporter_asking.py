"""A destination that does not say what it has: nothing waits for it for ever, and an abort is seen meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from services.exporter.deliver import Deliverer
from shared.errors import DestinationFailed, NotYet
from shared.messages.exports import ExportAbort, ExportDeliver
from tests.support.export_desk import ACCOUNT, FAST, Desk, desk
from tests.support.nats import NatsServer
from tests.support.shared_bus import new_id
from tests.support.wild_destination import Died

SHORT = dataclasses.replace(FAST, answer=timedelta(milliseconds=200))
LONG = dataclasses.replace(FAST, answer=timedelta(hours=1))


async def sent(at: Desk) -> ExportDeliver:
    """Return an order whose exporter was killed after the last byte; its destination says nothing from now on."""
    order = at.order(new_id(), "frame")
    at.place.dies_before = "record"
    with pytest.raises(Died):
        await at.exporter().deliver(order)
    at.place.mute = True
    at.place.asked.clear()
    return order


async def asked(at: Desk, exporter: Deliverer, order: ExportDeliver) -> asyncio.Task[object]:
    """Return a delivery that waits for the destination's answer."""
    task: asyncio.Task[object] = asyncio.create_task(exporter.deliver(order))
    await asyncio.wait_for(at.place.asked.wait(), 10)
    return task


async def test_silence_is_no_yes(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        order = await sent(at)
        puts = len(at.place.resumed)
        assert await asyncio.wait_for(at.exporter(pace=SHORT).deliver(order), 20)
        assert len(at.place.resumed) > puts, "the file is sent once more"
        assert at.there(order.export) == at.data(order.export, "frame")


async def test_an_abort_is_seen_while_it_says_nothing(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        order = await sent(at)
        task = await asked(at, at.exporter(pace=LONG), order)
        await at.exporter().abort(ExportAbort(account=ACCOUNT, export=order.export, clip=order.export, at_ms=1))
        assert await asyncio.wait_for(task, 20) is None
        assert (await at.record(order.export)).state == "aborted"


async def test_an_exporter_stops_while_it_says_nothing(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        order = await sent(at)
        stop = asyncio.Event()
        task = await asked(at, at.exporter(pace=LONG, stopping=stop.is_set), order)
        stop.set()
        (outcome,) = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 20)
        assert isinstance(outcome, NotYet)


async def test_a_late_fast_delivery_fails_where_it_says_nothing(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        order = at.order(new_id(), "frame")
        assert await at.exporter().deliver(order)
        at.place.mute = True
        at.place.asked.clear()
        task = await asked(at, at.exporter(pace=SHORT), at.order(order.export, "segment"))
        (outcome,) = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 20)
        assert isinstance(outcome, DestinationFailed)
        assert not outcome.final
