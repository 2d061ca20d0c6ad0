"""Exports that are aborted between their fast file and their exact one: nothing is delivered after the abort."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.exporter.transfer import Pace
from shared.errors import NotYet
from shared.messages.exports import ExportAbort
from tests.support.export_desk import ACCOUNT, FAST, Desk, desk, handled, serving
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import new_id
from tests.support.wild_destination import Died

RARE = Pace(look=timedelta(seconds=10))
"""Nothing is noticed within the test but by who is made to look."""


async def abort(at: Desk, export: str) -> None:
    assert await at.exporter().abort(ExportAbort(account=ACCOUNT, export=export, clip=export, at_ms=1))


async def under_way(at: Desk, export: str) -> tuple[asyncio.Task[object], asyncio.Task[object]]:
    """Begin the fast file, and then the exact one, which waits until the fast one has stopped."""
    at.place.gate = asyncio.Event()
    fast = asyncio.create_task(at.exporter(pace=RARE).deliver(at.order(export, "segment", 4000)))
    await asyncio.wait_for(at.place.reached.wait(), 30)
    exact = asyncio.create_task(at.exporter(pace=RARE).deliver(at.order(export, "frame")))

    async def waits() -> bool:
        return (await at.record(export)).overtakes

    await until(waits)
    return fast, exact


@pytest.mark.parametrize("fast_ends", ["delivered", "killed"])
async def test_an_abort_ends_the_exact_one_that_waits_for_the_fast_one(
    nats: NatsServer, tmp_path: Path, fast_ends: str
) -> None:
    """What the fast one had delivered stays; what it left unfinished goes."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        fast, exact = await under_way(at, export)
        await abort(at, export)
        assert at.place.gate
        at.place.dies_before = "rename" if fast_ends == "killed" else ""
        at.place.gate.set()
        if fast_ends == "killed":
            with pytest.raises(Died):
                await fast
        else:
            assert await fast is None
        assert await asyncio.wait_for(exact, 30) is None
        assert "frame begins" not in at.place.steps
        for accuracy, size in (("segment", 4000), ("frame", 5000)):  # delivered again
            assert await at.exporter().deliver(at.order(export, accuracy, size)) is None  # type: ignore[arg-type]
        assert at.there(export) == (None if fast_ends == "killed" else at.data(export, "segment", 4000))
        assert at.place.parts == {}
        assert (await at.record(export)).state == "aborted"


async def test_an_abort_that_the_fast_file_came_before_stops_the_exact_one(nats: NatsServer, tmp_path: Path) -> None:
    """The fast file takes its name before its delivery has looked: it stays and is told, and the abort counts."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        at.place.gate = asyncio.Event()
        fast = asyncio.create_task(at.exporter(pace=RARE).deliver(at.order(export, "segment", 4000)))
        await asyncio.wait_for(at.place.reached.wait(), 30)
        await abort(at, export)
        at.place.gate.set()
        delivered = await fast
        assert delivered
        assert delivered.location == f"wild://{export}.mp4"
        assert await at.exporter().deliver(at.order(export, "frame")) is None
        assert at.there(export) == at.data(export, "segment", 4000)
        record = await at.record(export)
        assert (record.state, record.location) == ("aborted", delivered.location)


async def test_an_abort_while_the_server_is_asked_removes_what_an_earlier_try_left(
    nats: NatsServer, tmp_path: Path
) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        order = at.order(export, "frame")
        at.place.dies_before = "piece"
        with pytest.raises(Died):
            await at.exporter().deliver(order)
        assert at.place.parts
        at.place.mute = True
        again = asyncio.create_task(at.exporter().deliver(order))
        await asyncio.wait_for(at.place.asked.wait(), 30)
        await abort(at, export)
        assert await asyncio.wait_for(again, 30) is None
        assert at.place.parts == {}
        assert at.there(export) is None


@pytest.mark.parametrize(("keeps", "stays"), [(3, False), (1, True)])
async def test_what_cannot_be_removed_now_is_removed_later(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: int, stays: bool
) -> None:
    """Aborts come where servers are away; one that refuses for good is not asked again."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        order = at.order(export, "frame")
        at.place.dies_before = "piece"
        with pytest.raises(Died):
            await at.exporter().deliver(order)
        await abort(at, export)
        at.place.keeps, at.place.stays = keeps, stays
        async with serving(at, monkeypatch):
            await handled(at, order)
        assert (at.place.parts == {}) != stays
        assert at.place.keeps == 0
        record = await at.record(export)
        assert (record.state, record.resume) == ("aborted", "")


async def test_what_cannot_be_removed_for_long_is_left(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        order = at.order(export, "frame")
        at.place.dies_before = "piece"
        with pytest.raises(Died):
            await at.exporter().deliver(order)
        await abort(at, export)
        at.place.keeps = 1000
        with pytest.raises(NotYet):
            await at.exporter().deliver(order)
        assert await at.exporter(pace=replace(FAST, clear=timedelta())).deliver(order) is None
        assert (await at.record(export)).resume == ""
        assert await at.exporter().deliver(order) is None


async def test_a_note_that_comes_after_the_abort_is_kept_for_whoever_clears_away(
    nats: NatsServer, tmp_path: Path
) -> None:
    """As an upload that was begun just then; its exporter may be killed before it can drop it."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        fast, exact = at.order(export, "segment"), at.order(export, "frame")
        exports = at.exporter().exports
        await exports.begin(fast)
        await exports.begin(exact)
        await exports.note(fast, 0, f"{export}-segment")
        await abort(at, export)
        changed = (await at.record(export)).changed_ms
        await exports.note(exact, 0, f"{export}-frame")
        at.place.parts = {f"{export}-{accuracy}": bytearray(b"film") for accuracy in ("segment", "frame")}
        record = await at.record(export)
        assert (record.state, record.sent, record.changed_ms) == ("aborted", 0, changed)
        for order in (fast, exact):
            assert await at.exporter().deliver(order) is None
        assert at.place.parts == {}
        assert (await at.record(export)).model_copy(update={"left": "", "resume": ""}) == await at.record(export)
