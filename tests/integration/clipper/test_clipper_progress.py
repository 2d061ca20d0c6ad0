"""How far a clip is, and that cancelling it leaves nothing behind, whatever is being done with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.clipper import cutter, progressing, watching
from services.clipper.cutter import ClipCutter
from services.clipper.cutting import render
from services.clipper.cutting.progress import RENDERING, Progress, note
from services.clipper.footage import Footage, Recorded
from services.clipper.movie import movie
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.broker.streams import SCHEDULES
from shared.broker.subjects import schedule_subject
from shared.messages.clips import ClipCancel, ClipCreate, ClipDelete, ClipRecord
from shared.messages.destinations import DESTINATION_PURPOSE, DestinationSpec, export_id
from shared.messages.exports import ExportRecord
from shared.messages.ranges import SourceRange
from shared.runtime.clock import SystemClock
from shared.security.secrets import Vault
from tests.support.clipper_desk import ACCOUNT, Desk, desk, read_all, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import SECRET, idle, new_id, send


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Six seconds: frames 0 to 179 in three segments."""
    return record(Spec(), tmp_path_factory.mktemp("first"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=20))
    monkeypatch.setattr(progressing, "EVERY", timedelta(0))


class Gate:
    """A point of the work at which it is held up."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def hold(self) -> None:
        self.reached.set()
        assert self.opened.wait(30)

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)


async def told(at: Desk, clip: str) -> list[int]:
    return [body["percent"] for _, body in await read_all(at.js, "EVENTS", f"clips.progressed.{ACCOUNT}.{clip}")]


async def test_it_is_in_the_record_and_told(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, gates = cutter.cut_exact, {part: Gate() for part in (1, 2, 3)}

    def slow(plan: Any, out: Any, stop: threading.Event, *more: Any) -> Any:
        for part, gate in gates.items():
            note(stop, RENDERING, part, 4)
            gate.hold()
        return real(plan, out, stop, *more)

    monkeypatch.setattr(cutter, "cut_exact", slow)
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(first))
        order = at.order(1, 5)
        await send(at.js, order)
        for part, gate in gates.items():
            await gate.wait()
            percent = 10 + 80 * part // 8

            async def shown(percent: int = percent) -> bool:
                found = await at.record(order.clip)
                return bool(found and found.progress == percent)

            await until(shown)
            gate.opened.set()
        ended = await at.ended(order.clip)
        assert ended.state == "finished"
        percents = await told(at, order.clip)
        assert percents == sorted(set(percents))
        assert [one for one in percents if one in {20, 30, 40}] == [20, 30, 40]
        assert percents[-1] <= 90


async def test_a_short_clip_is_not_told_of(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progressing, "EVERY", timedelta(minutes=5))
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(first))
        order = at.order(1, 5)
        await send(at.js, order)
        assert (await at.ended(order.clip)).state == "finished"
        assert await told(at, order.clip) == []


async def test_a_cut_knows_how_much_of_it_is_done(nats: NatsServer, tmp_path: Path, first: Recording) -> None:
    async with desk(nats, tmp_path) as at:
        segments, made = at.session(first), ClipCutter(at.store)
        for cut, name in ((made.fast, "segment"), (made.exact, "frame")):
            seen: list[float] = []

            class Watched(Progress):
                def is_set(self, seen: list[float] = seen) -> bool:
                    seen.append(self.done)
                    return super().is_set()

            stop = Watched()
            span = Recorded(segments, Fraction(1, 2), Fraction(11, 2), Fraction(11, 2))
            await asyncio.to_thread(cut, Footage((span,)), f"clips/x/y/{name}.mp4", stop)
            assert stop.done == 1
            assert seen == sorted(seen)
        assert any(0 < done < 1 for done in seen), "the ends of an exact clip are encoded one after the other"


def at_reading(patch: pytest.MonkeyPatch, gate: Gate) -> None:
    held(patch, gate, cutter, "plan_cut")


def at_fast_writing(patch: pytest.MonkeyPatch, gate: Gate) -> None:
    held(patch, gate, movie, "write_ranges")


def at_encoding(patch: pytest.MonkeyPatch, gate: Gate) -> None:
    held(patch, gate, render, "decode_rows")


def at_writing(patch: pytest.MonkeyPatch, gate: Gate) -> None:
    held(patch, gate, movie, "write_ranges", after=1)


def when_written(patch: pytest.MonkeyPatch, gate: Gate) -> None:
    real = cutter.ClipCutter.exact

    def exact(*args: Any, **more: Any) -> Any:
        made = real(*args, **more)
        gate.hold()
        return made

    patch.setattr(cutter.ClipCutter, "exact", exact)


def held(patch: pytest.MonkeyPatch, gate: Gate, module: Any, name: str, after: int = 0) -> None:
    """Hold a function up, at its first call, or after some."""
    real, calls = getattr(module, name), [0]

    def work(*args: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == after + 1:
            gate.hold()
        return real(*args, **more)

    patch.setattr(module, name, work)


POINTS = [at_reading, at_fast_writing, at_encoding, at_writing, when_written]


@pytest.mark.parametrize("point", POINTS)
async def test_a_cancelled_cut_leaves_nothing_behind(
    nats: NatsServer,
    tmp_path: Path,
    first: Recording,
    monkeypatch: pytest.MonkeyPatch,
    point: Callable[[pytest.MonkeyPatch, Gate], None],
) -> None:
    gate = Gate()
    point(monkeypatch, gate)
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(first))
        order = at.order(Fraction(3, 2), Fraction(9, 2))
        await send(at.js, order)
        await gate.wait()
        await cancel(at, order)
        gate.opened.set()
        await nothing_is_left(at, order)


async def test_a_clip_that_is_deleted_while_its_file_is_made_leaves_nothing_behind(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its removal comes before the cut has seen that it was cancelled."""
    gate = Gate()
    at_writing(monkeypatch, gate)
    monkeypatch.setattr(watching, "LOOK", timedelta(minutes=1))
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(first))
        order = at.order(Fraction(3, 2), Fraction(9, 2))
        await send(at.js, order)
        await gate.wait()
        await cancel(at, order)
        await send(at.js, ClipDelete(account=ACCOUNT, clip=order.clip, at_ms=SystemClock().now_ms()))

        async def gone() -> bool:
            return await at.record(order.clip) is None

        await until(gone)
        gate.opened.set()
        await until(lambda: idle(at.js, "clipper-refine"))
        assert list(at.store.path(f"clips/{ACCOUNT}/{order.clip}").rglob("*")) == []


async def test_a_cancelled_clip_that_waits_leaves_nothing_behind(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    async with desk(nats, tmp_path) as at, serving(at, "clipper", "exporter", "scheduler"):
        await at.job("processing")
        segments = at.session(first)
        await at.publishing(segments)
        await at.announce(segments)
        order = at.order(1, 3600, clock="wall", wait=True, live=True)
        await send(at.js, order)

        async def waits() -> bool:
            found = await at.record(order.clip)
            return bool(found and found.state == "waiting")

        await until(waits)
        await cancel(at, order)
        await nothing_is_left(at, order)


async def test_a_clip_cancelled_while_it_is_sent_leaves_nothing_behind(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    """Its destination takes nothing more after the first bytes."""
    taken, kept = asyncio.Event(), []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        taken.set()

    server = await asyncio.start_server(slow, "127.0.0.1", 0, limit=1 << 16)
    port = server.sockets[0].getsockname()[1]
    clip = new_id()
    url = Vault(SECRET.encode()).encrypt(f"http://127.0.0.1:{port}/x.mp4", DESTINATION_PURPOSE)
    spec = DestinationSpec(export=export_id(clip, 1), type="http", url=url, shown="x", file_name="x.mp4")
    async with desk(nats, tmp_path, allow_nets="127.0.0.0/8") as at, serving(at):
        await at.announce(at.session(first))
        order = at.order(1, 5, clip=clip, destinations=(spec,))
        await send(at.js, order)
        async with asyncio.timeout(30):
            await taken.wait()
        await cancel(at, order)
        await until(lambda: idle(at.js, "exporter-deliver"))
        stored = await Bucket(lambda: at.js, "exports", ExportRecord).get(f"{ACCOUNT}.{spec.export}")
        assert stored is None or stored.value.state == "aborted"
        await nothing_is_left(at, order)
    for writer in kept:
        writer.close()
    server.close()


async def cancel(at: Desk, order: ClipCreate) -> None:
    """Cancel a clip, and wait until its record says so."""
    await send(at.js, ClipCancel(account=ACCOUNT, clip=order.clip, at_ms=SystemClock().now_ms()), times=2)

    async def done() -> bool:
        found = await at.record(order.clip)
        return bool(found and found.state == "cancelled")

    await until(done)


async def nothing_is_left(at: Desk, order: ClipCreate) -> None:
    """Check files, ranges, schedules, and that no event follows the end; a fast file that was told of stays."""
    ended: ClipRecord = await at.ended(order.clip)
    assert ended.state == "cancelled"
    named = {Path(ended.file.key).name} if ended.file else set()
    folder = at.store.path(f"clips/{ACCOUNT}/{order.clip}")
    assert {file.name for file in folder.rglob("*")} == named if folder.exists() else not named
    assert "frame.mp4" not in named or ended.file is not None
    assert await Bucket(lambda: at.js, "clip_ranges", SourceRange).items(f"{ACCOUNT}.{at.event}") == []
    info = await at.js.stream_info(SCHEDULES, subjects_filter=schedule_subject(ACCOUNT, f"clip-{order.clip}"))
    assert not info.state.subjects
    assert (await at.told(order.clip)).count("cancelled") == 1
    assert "clips.frame_accurate.ready" not in await at.told(order.clip) or "frame.mp4" in named
