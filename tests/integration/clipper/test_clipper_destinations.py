"""A clip to several destinations at once, from the recording to the files: each has its own end."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from services.clipper import watching
from services.exporter.destinations import folder
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCancel, ClipCreate, ClipRecord
from shared.messages.destinations import DESTINATION_PURPOSE, DestinationSpec, export_id
from shared.messages.exports import ExportAbort, ExportRecord
from shared.runtime.clock import SystemClock
from shared.security.secrets import Vault
from tests.support.clipper_desk import ACCOUNT, Desk, check, desk, frames, read_all, serving
from tests.support.framecode import play
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import SECRET, idle, new_id, send

LANES = ("exporter-deliver", "exporter-abort", "clipper-delivered", "clipper-undelivered", "clipper-aborted")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Six seconds: frames 0 to 179 in three segments."""
    return record(Spec(), tmp_path_factory.mktemp("first"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=50))


def order_to(at: Desk, *urls: str) -> ClipCreate:
    """Order a clip to the library, and to folders by their URLs."""
    clip, vault = new_id(), Vault(SECRET.encode())
    folders = (
        DestinationSpec(
            export=export_id(clip, position), type="folder", url=vault.encrypt(url, DESTINATION_PURPOSE), shown=url,
            file_name=f"{clip}.mp4",
        )
        for position, url in enumerate(urls, 1)
    )  # fmt: skip
    return at.order(1, 4, clip=clip, destinations=(DestinationSpec(export=clip, file_name=f"{clip}.mp4"), *folders))


def lines(record: ClipRecord) -> list[tuple[str, str | None]]:
    return [(line.state, line.accuracy) for line in record.deliveries]


async def exports(at: Desk, order: ClipCreate) -> list[str]:
    bucket = Bucket(lambda: at.js, "exports", ExportRecord)
    found = [await bucket.get(f"{ACCOUNT}.{one.export}") for one in order.destinations]
    return [stored.value.state if stored else "" for stored in found]


def _folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folder of exports, and that of the account in it."""
    folder = tmp_path / "out"
    (folder / ACCOUNT).mkdir(parents=True)
    return folder, folder / ACCOUNT


async def settled(at: Desk) -> None:
    for lane in LANES:
        await until(lambda lane=lane: idle(at.js, lane))


async def test_all_get_the_exact_file(nats: NatsServer, tmp_path: Path, first: Recording) -> None:
    folder, out = _folders(tmp_path)
    async with desk(nats, tmp_path, export_dir=str(folder)) as at, serving(at):
        await at.announce(at.session(first))
        order = order_to(at, "file:///games/", "file:///goal.mp4")
        await send(at.js, order, times=2)
        ended = await at.ended(order.clip)
        await check(at, ended, frames(1, 4))
        for path in (out / f"games/{order.clip}.mp4", out / "goal.mp4"):
            assert path.read_bytes() == at.file(order.clip).read_bytes()
        assert [line.location for line in ended.deliveries[1:]] == [
            f"file:///games/{order.clip}.mp4", "file:///goal.mp4",
        ]  # fmt: skip
        assert (await at.told(order.clip))[-1] == "finished"


async def test_one_that_fails_takes_nothing_from_the_other(nats: NatsServer, tmp_path: Path, first: Recording) -> None:
    (folder, out), elsewhere = _folders(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / "linked").symlink_to(elsewhere)
    async with desk(nats, tmp_path, export_dir=str(folder)) as at, serving(at):
        await at.announce(at.session(first))
        order = order_to(at, "file:///linked/goal.mp4", "file:///goal.mp4")
        await send(at.js, order)
        ended = await at.ended(order.clip)
        assert ended.state == "failed"
        assert "not delivered to file:///linked/goal.mp4: the export folder could not take the file" in ended.error
        assert lines(ended) == [("delivered", "frame"), ("failed", None), ("delivered", "frame")]
        for path in (at.file(order.clip), out / "goal.mp4"):
            assert play(path).numbers == frames(1, 4)
        assert list_of(elsewhere) == []
        assert list_of(at.store.path(f"clips/{ACCOUNT}/{order.clip}")) == ["frame.mp4"], "the fast file has gone"
        assert await exports(at, order) == ["delivered", "failed", "delivered"]


async def test_a_cancelled_clip_aborts_its_exports(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = _standing_still(monkeypatch)
    folder, out = _folders(tmp_path)
    async with desk(nats, tmp_path, export_dir=str(folder)) as at, serving(at):
        await at.announce(at.session(first))
        order = order_to(at, "file:///goal.mp4")
        await send(at.js, order)
        await asyncio.wait_for(reached.wait(), 60)
        await send(at.js, ClipCancel(account=ACCOUNT, clip=order.clip, at_ms=SystemClock().now_ms()), times=2)
        ended = await at.ended(order.clip)
        await settled(at)
        assert ended.state == "cancelled"
        assert list_of(out) == [], "neither the file nor a part of it"
        assert (await exports(at, order))[1] == "aborted"


async def test_an_aborted_export_leaves_the_others(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = _standing_still(monkeypatch)
    folder, out = _folders(tmp_path)
    async with desk(nats, tmp_path, export_dir=str(folder)) as at, serving(at):
        await at.announce(at.session(first))
        order = order_to(at, "file:///goal.mp4")
        await send(at.js, order)
        await asyncio.wait_for(reached.wait(), 60)
        await send(at.js, ExportAbort(account=ACCOUNT, export=order.destinations[1].export, clip=order.clip, at_ms=1))
        ended = await at.ended(order.clip)
        await settled(at)
        assert (ended.state, lines(ended)) == ("finished", [("delivered", "frame"), ("aborted", None)])
        assert list_of(out) == []
        said = [
            channel
            for channel, _ in await read_all(at.js, "EVENTS", f"exports.*.{ACCOUNT}.{order.destinations[1].export}")
        ]
        assert said[-1] == "exports.aborted"


def _standing_still(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let folders take the first bytes, and then no more."""
    reached = asyncio.Event()

    async def never(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(folder.FolderDestination, "_copy", never)
    return reached


def list_of(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())
