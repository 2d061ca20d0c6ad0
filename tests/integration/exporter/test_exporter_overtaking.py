"""The fast file and the exact one, on their way at once: the exact one is left, and nothing unfinished."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

import pytest

from services.exporter.transfer import Pace
from shared.broker import middleware
from shared.errors import NotYet
from shared.messages.exports import ExportAbort
from tests.support.export_desk import ACCOUNT, desk, handled, serving
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import idle, new_id, send
from tests.support.wild_destination import Died


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))


async def test_slow_while_the_exact_one_arrives(nats: NatsServer, tmp_path: Path) -> None:
    """The fast file is still on its way: it is stopped, and what it left is removed."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        at.place.gate = asyncio.Event()
        slow = asyncio.create_task(at.exporter().deliver(at.order(export, "segment", 4000)))
        await asyncio.wait_for(at.place.reached.wait(), 30)
        gate, at.place.gate = at.place.gate, None
        exact = asyncio.create_task(at.exporter().deliver(at.order(export, "frame")))
        with contextlib.suppress(NotYet):  # when it noticed before the exact one was there
            assert await asyncio.wait_for(slow, 30) is None
        assert await exact
        assert at.place.steps == ["segment begins", "segment is cleared away", "frame begins", "frame is there"]
        assert await at.exporter().deliver(at.order(export, "segment", 4000)) is None
        gate.set()
        assert at.there(export) == at.data(export, "frame")
        assert at.place.parts == {}
        record = await at.record(export)
        assert (record.state, record.accuracy, record.left) == ("delivered", "frame", "")


async def test_the_exact_one_waits_until_the_fast_one_has_stopped(nats: NatsServer, tmp_path: Path) -> None:
    """Else the fast one could take the final name after the exact one, whose delivery has been told."""
    async with desk(nats, tmp_path) as at:
        export, rare = new_id(), Pace(look=timedelta(seconds=10))
        at.place.gate = asyncio.Event()
        slow = asyncio.create_task(at.exporter(pace=rare).deliver(at.order(export, "segment", 4000)))
        await asyncio.wait_for(at.place.reached.wait(), 30)
        exact = asyncio.create_task(at.exporter(pace=rare).deliver(at.order(export, "frame")))

        async def overtaking() -> bool:
            return (await at.record(export)).overtakes

        await until(overtaking)
        at.place.gate.set()  # the fast one takes its name before it has looked
        with contextlib.suppress(NotYet):
            await slow
        assert await asyncio.wait_for(exact, 30)
        assert at.place.steps == ["segment begins", "segment is there", "frame begins", "frame is there"]
        assert at.there(export) == at.data(export, "frame")
        record = await at.record(export)
        assert (record.state, record.accuracy, record.overtakes) == ("delivered", "frame", False)


async def test_fast_that_overtakes_is_put_right(nats: NatsServer, tmp_path: Path) -> None:
    """The fast file takes the final name after the exact one, and its exporter is killed then."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        fast, exact = at.order(export, "segment", 4000), at.order(export, "frame")
        at.place.dies_before = "record"
        with pytest.raises(Died):
            await at.exporter().deliver(fast)
        late = at.place.files[f"{export}.mp4"]
        assert await at.exporter().deliver(exact)
        at.place.files[f"{export}.mp4"] = late
        assert await at.exporter().deliver(fast) is None
        assert at.there(export) == at.data(export, "frame")
        at.place.files.clear()
        assert await at.exporter().deliver(fast) is None
        assert at.there(export) is None, "what was deleted there does not come again"


async def test_a_late_fast_file_leaves_the_running_delivery_of_the_exact_one_alone(
    nats: NatsServer, tmp_path: Path
) -> None:
    """The fast file is there before its delivery has looked whether it is still wanted: it waits, and puts it right."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        fast, exact = at.order(export, "segment", 4000), at.order(export, "frame")
        blind = at.exporter(pace=Pace(look=timedelta(seconds=30)))
        at.place.gate = late = asyncio.Event()
        slow = asyncio.create_task(blind.deliver(fast))
        await asyncio.wait_for(at.place.reached.wait(), 30)
        at.place.reached, at.place.gate = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(at.exporter().deliver(exact))
        await asyncio.wait_for(at.place.reached.wait(), 30)
        gate, at.place.gate = at.place.gate, None
        late.set()
        with pytest.raises(NotYet):
            await slow
        assert at.there(export) == at.data(export, "segment", 4000)
        with pytest.raises(NotYet):
            await at.exporter().deliver(fast)
        assert at.place.resumed == [0, 0], "nobody else sends the exact file"
        gate.set()
        assert await running
        at.place.files[f"{export}.mp4"] = at.data(export, "segment", 4000)  # as if the server had been slow
        assert await at.exporter().deliver(fast) is None
        assert at.there(export) == at.data(export, "frame")


async def test_an_exact_file_that_fails_lets_the_fast_one_be_delivered_after_all(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        fast, exact = at.order(export, "segment", 4000), at.order(export, "frame")
        at.place.dies_before = "piece"
        with pytest.raises(Died):
            await at.exporter().deliver(exact)
        with pytest.raises(NotYet):
            await at.exporter().deliver(fast)
        assert await at.exporter().fail(exact, "530 not today")
        await at.exporter().fail(fast, "another reason")
        record = await at.record(export)
        assert (record.state, record.accuracy, record.error) == ("failed", "frame", "530 not today")
        assert await at.exporter().deliver(fast)
        assert at.there(export) == at.data(export, "segment", 4000)


async def test_an_abort_after_the_fast_file_failed_stops_the_exact_one(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        at.place.refuses, at.place.final = 1, True
        async with serving(at, monkeypatch):
            await handled(at, at.order(export, "segment"))
            assert (await at.record(export)).state == "failed"
            await send(at.js, ExportAbort(account=ACCOUNT, export=export, clip=export, at_ms=1), times=2)
            await until(lambda: idle(at.js, "exporter-abort"))
            await handled(at, at.order(export, "frame"))
        assert (await at.record(export)).state == "aborted"
        assert at.there(export) is None
        assert await at.told(export) == [("failed", "segment"), ("aborted", "segment")]


async def test_what_a_killed_fast_delivery_left_goes(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        fast, exact = at.order(export, "segment", 4000), at.order(export, "frame")
        at.place.dies_before = "piece"
        with pytest.raises(Died):
            await at.exporter().deliver(fast)
        assert await at.exporter().deliver(exact)
        assert list(at.place.parts) == [f"{export}-segment"]
        at.store.delete(fast.source_key)  # the clipper does so when the exact file is everywhere
        assert await at.exporter().deliver(fast) is None
        assert at.place.parts == {}
