"""A destination that misbehaves: what arrives, what is recorded, what is told, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from services.exporter import deliver
from services.exporter.transfer import Pace
from shared.broker import middleware, streams
from shared.errors import NotYet, Unavailable
from shared.messages.exports import ExportAbort
from tests.support.clipper_desk import read_all
from tests.support.export_desk import ACCOUNT, FAST, LANE, SIZE, desk, handled, serving
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import until
from tests.support.shared_bus import apply, hasten, idle, letter, new_id, send
from tests.support.wild_destination import Died


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))


@pytest.mark.parametrize(
    ("faults", "tries", "end"),
    [
        ({}, 1, "delivered"),
        ({"refuses": 3}, 4, "delivered"),
        ({"refuses": 9}, 10, "delivered"),
        ({"refuses": 10}, 10, "failed"),
        ({"refuses": 1, "final": True}, 1, "failed"),
        ({"lies": True}, 10, "failed"),
        ({"works": 15}, 16, "delivered"),  # a server that works is no failed try
        ({"works": 15, "refuses": 9}, 25, "delivered"),
    ],
)
async def test_tries_and_ends(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any], tries: int, end: str
) -> None:
    async with desk(nats, tmp_path) as at:
        for name, value in faults.items():
            setattr(at.place, name, value)
        export = new_id()
        async with serving(at, monkeypatch):
            sequence = await handled(at, at.order(export, "frame", SIZE))
        record = await at.record(export)
        assert (record.state, len(at.place.resumed)) == (end, tries)
        assert not at.place.parts, "nothing is left unfinished"
        assert (await at.told(export))[-1] == (end, "frame")
        if end == "delivered":
            assert at.there(export) == at.data(export, "frame", SIZE)
            assert (record.location, record.sent) == (f"wild://{export}.mp4", SIZE)
        else:
            assert at.there(export) is None
            assert record.error == (
                f"the server has {SIZE // 2} bytes of {SIZE}" if faults.get("lies") else "530 not today"
            )
            assert await letter(at.js, LANE, sequence) is not None


async def test_what_a_try_has_sent_the_next_one_does_not_send_again(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        at.place.refuses = 3
        async with serving(at, monkeypatch):
            await handled(at, at.order(export, "frame"))
        assert at.place.resumed == [0, 1000, 2000, 3000]
        assert await at.told(export) == [("started", "frame"), ("delivered", "frame")]


async def test_stuck_is_the_servers_fault_and_comes_again(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        at.place.stuck = True
        with pytest.raises(deliver.DestinationFailed, match="taken nothing") as failed:
            await at.exporter().deliver(at.order(export, "frame"))
        assert not failed.value.final
        at.place.stuck = False
        assert await at.exporter().deliver(at.order(export, "frame"))
        assert at.there(export) == at.data(export, "frame")


@pytest.mark.parametrize(("where", "puts"), [("piece", 2), ("rename", 2), ("record", 1)])
async def test_killed(nats: NatsServer, tmp_path: Path, where: str, puts: int) -> None:
    """Resumed where it stood; after the server's "done" nothing is sent again."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        at.place.dies_before = where
        order = at.order(export, "frame")
        with pytest.raises(Died):
            await at.exporter().deliver(order)
        assert (await at.record(export)).state == "delivering"
        event = await at.exporter().deliver(order)
        assert event is not None
        assert event.bytes == 5000
        assert len(at.place.resumed) == puts
        assert at.place.resumed[-1] > 0 or puts == 1
        assert at.there(export) == at.data(export, "frame")
        assert (await at.record(export)).state == "delivered"
        assert at.place.parts == {}


async def test_killed_where_only_the_destination_knows_the_location(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        order = at.order(new_id(), "frame")
        account = order.destination.model_copy(update={"shown": "videocloud:57838016001"})
        order = order.model_copy(update={"destination": account})
        at.place.dies_before = "record"
        with pytest.raises(Died):
            await at.exporter().deliver(order)
        event = await at.exporter().deliver(order)
        assert event is not None
        assert event.location == f"wild://{order.export}.mp4"
        assert await at.exporter().deliver(order) == event.model_copy(update={"at_ms": ANY})
        assert len(at.place.resumed) == 2, "what was recorded is only looked at"


async def test_delivered_twice_and_by_two_at_once(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        order = at.order(export, "frame")
        await asyncio.gather(*(at.exporter().deliver(order) for _ in range(2)))
        assert at.there(export) == at.data(export, "frame")
        before = len(at.place.resumed)
        assert await at.exporter().deliver(order)
        assert len(at.place.resumed) == before, "no second upload"
        at.place.files.clear()
        assert await at.exporter().deliver(order)
        assert at.there(export) == at.data(export, "frame"), "what is gone there is sent again"


@pytest.mark.parametrize("when", ["before", "while", "between", "after"])
async def test_aborted(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        abort = ExportAbort(account=ACCOUNT, export=export, clip=export, at_ms=1)
        order = at.order(export, "frame")
        at.place.dies_before = "piece" if when == "between" else ""
        at.place.gate = asyncio.Event() if when == "while" else None
        if when == "between":  # killed, or waiting for its next try
            with pytest.raises(Died):
                await at.exporter().deliver(order)
        async with serving(at, monkeypatch):
            if when in {"while", "after"}:
                sequence = await send(at.js, order)
            if when == "while":
                await asyncio.wait_for(at.place.reached.wait(), 30)
            if when == "after":
                await until(lambda: idle(at.js, LANE, sequence))
            await send(at.js, abort, times=2)
            await until(lambda: idle(at.js, "exporter-abort"))
            if when in {"before", "between"}:
                await send(at.js, order, times=2)
            await until(lambda: idle(at.js, LANE))
        assert at.place.parts == {}, "nothing is left unfinished"
        record, told = await at.record(export), await at.told(export)
        if when == "after":
            assert (record.state, told[-1]) == ("delivered", ("delivered", "frame"))
            assert at.there(export) == at.data(export, "frame")
        else:
            assert (record.state, told[-1]) == ("aborted", ("aborted", "frame"))
            assert at.there(export) is None


async def test_a_source_that_is_gone(nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        order = at.order(export, "frame")
        at.place.refuses = 1
        with pytest.raises(deliver.DestinationFailed):
            await at.exporter().deliver(order)
        at.store.delete(order.source_key)
        async with serving(at, monkeypatch):
            await handled(at, order)
        assert (await at.record(export)).error == "the file is no longer in the store"
        assert at.place.parts == {}, "what the first try left goes"
        assert (await at.told(export))[-1] == ("failed", "frame")


async def test_one_that_was_delivered_stays_so_when_its_source_is_gone(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        order = at.order(export, "frame")
        assert await at.exporter().deliver(order)
        at.store.delete(order.source_key)
        assert await at.exporter().deliver(order)


async def test_an_exporter_that_stops_gives_its_transfer_back(nats: NatsServer, tmp_path: Path) -> None:
    """This is no failure of the destination, and the next exporter goes on from there."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        order, stop = at.order(export, "frame"), asyncio.Event()
        at.place.gate = asyncio.Event()
        stopped = asyncio.create_task(at.exporter(stopping=stop.is_set).deliver(order))
        await asyncio.wait_for(at.place.reached.wait(), 30)
        stop.set()
        with pytest.raises(NotYet):
            await stopped
        at.place.gate = None
        assert await at.exporter().deliver(order)
        assert at.place.resumed == [0, 1000]
        assert at.there(export) == at.data(export, "frame")


async def test_a_service_that_stops_hands_over_at_once(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than a delivery may be tried: stops do not count, and each goes on where the one before stood."""
    monkeypatch.setattr(streams, "CONSUMERS", streams.CONSUMERS)
    hasten(LANE, max_deliver=2)
    async with desk(nats, tmp_path) as at:
        export = new_id()
        sequence = await send(at.js, at.order(export, "frame"))
        for _ in range(3):
            at.place.reached, at.place.gate = asyncio.Event(), asyncio.Event()
            async with serving(at, monkeypatch):
                await asyncio.wait_for(at.place.reached.wait(), 30)
        at.place.gate = None
        async with serving(at, monkeypatch):
            await until(lambda: idle(at.js, LANE, sequence))
        assert at.place.resumed == [0, 1000, 2000, 3000]
        assert at.there(export) == at.data(export, "frame")


async def test_progress_is_recorded_and_told(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        at.place.gate = asyncio.Event()
        sending = asyncio.create_task(at.exporter(pace=Pace(**_patient())).deliver(at.order(export, "frame")))
        await asyncio.wait_for(at.place.reached.wait(), 30)

        async def recorded() -> bool:
            return (await at.record(export)).sent == 1000

        await until(recorded)

        async def progress() -> list[int]:
            said = await read_all(at.js, "EVENTS", f"exports.progressed.{ACCOUNT}.{export}")
            return [body["sent"] for _, body in said]

        await until(progress)
        assert await at.told(export) == [("started", "frame")]
        at.place.gate.set()
        assert await sending
        assert 1000 in await progress()
        assert (await at.record(export)).sent == 5000


def _patient() -> dict[str, timedelta]:
    return {"look": FAST.look, "record": FAST.record, "tell": FAST.tell}


async def test_the_transfer_goes_on_while_the_broker_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sent meanwhile is not sent again, and it is recorded and told when the broker is back."""
    monkeypatch.setattr(streams, "CONSUMERS", streams.CONSUMERS)
    hasten(LANE, ack_wait=timedelta(seconds=2))
    with nats_server(tmp_path / "nats") as nats:
        async with desk(nats, tmp_path) as at, serving(at, monkeypatch):
            export = new_id()
            at.place.gate = asyncio.Event()
            await apply(at.js, LANE, timedelta(seconds=2))
            await send(at.js, at.order(export, "frame"))
            await asyncio.wait_for(at.place.reached.wait(), 30)
            nats.kill()
            at.place.gate.set()

            async def arrived() -> bool:
                return at.there(export) is not None

            await until(arrived)
            nats.start()
            at.place.gate = None

            async def recorded() -> bool:
                with contextlib.suppress(Unavailable):
                    return (await at.record(export)).state == "delivered"
                return False

            await until(recorded)
            await until(lambda: idle(at.js, LANE))
            assert at.place.resumed == [0]
            assert at.there(export) == at.data(export, "frame")
            assert (await at.told(export))[-1] == ("delivered", "frame")
