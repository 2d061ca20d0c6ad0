"""Files to the library: whole or not at all, never a less exact one over a more exact one, and told when it fails."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pydantic import TypeAdapter

from services.exporter.app import build
from services.exporter.destinations import library_folder as library
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.messages.clips import Accuracy
from shared.messages.destinations import DestinationSpec
from shared.messages.exports import ExportDeliver, ExportDelivered, ExportFailed, ExportRecord, LibraryDelete
from shared.runtime.settings import Settings
from shared.store.opening import open_store
from tests.support.disk import small_disk
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import apply, child, idle, letter, new_id, send, served, settings_for

LANE = "exporter-deliver"
ACCOUNT = "main"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))


@dataclass
class Desk:
    """What a clipper does and sees, and what lies in the library."""

    js: JetStreamContext
    settings: Settings

    @property
    def folder(self) -> Path:
        return self.settings.library_dir / ACCOUNT

    def order(self, export: str, accuracy: Accuracy, data: bytes | None = None, name: str = "") -> ExportDeliver:
        key = f"clips/{ACCOUNT}/{export}/{accuracy}.mp4"
        content = f"{accuracy} of {export}".encode() if data is None else data
        open_store(self.settings).put(key, content)
        return ExportDeliver(
            account=ACCOUNT, export=export, clip=export, accuracy=accuracy, source_key=key, bytes=len(content),
            destination=DestinationSpec(export=export, file_name=name or f"{export}.mp4"),
        )  # fmt: skip

    async def events(self, export: str) -> list[tuple[str, str]]:
        """Give kind and accuracy of all events about an export."""
        found: list[tuple[str, str]] = []
        for channel in ("delivered", "failed"):
            config = ConsumerConfig(
                filter_subject=f"exports.{channel}.{ACCOUNT}.{export}", ack_policy=AckPolicy.NONE, mem_storage=True,
                deliver_policy=DeliverPolicy.ALL, inactive_threshold=5,
            )  # fmt: skip
            info = await self.js.add_consumer("EVENTS", config)
            if info.num_pending:
                reader = await self.js.pull_subscribe_bind(consumer=info.name, stream="EVENTS")
                model: TypeAdapter[Any] = TypeAdapter(ExportDelivered if channel == "delivered" else ExportFailed)
                messages = await reader.fetch(info.num_pending, timeout=5)
                found += [(channel, model.validate_json(message.data).accuracy) for message in messages]
        return found

    async def record(self, export: str) -> tuple[str, str]:
        stored = await Bucket(lambda: self.js, "exports", ExportRecord).get(f"{ACCOUNT}.{export}")
        assert stored is not None
        return stored.value.state, stored.value.accuracy

    async def done(self, sequence: int) -> None:
        await until(lambda: idle(self.js, LANE, sequence))

    def names(self) -> list[str]:
        """List the library without its locks; drafts are in it."""
        found = self.folder.iterdir() if self.folder.exists() else ()
        return sorted(p.name for p in found if p.name != library.LOCKS)


@asynccontextmanager
async def desk(nats: NatsServer, folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        yield Desk(js, settings_for(nats, folder, **settings))


async def test_every_message_twice(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at, served("exporter", build, at.settings):
        export = new_id()
        for accuracy in ("segment", "frame"):
            await at.done(await send(at.js, at.order(export, accuracy), times=2))
            assert (at.folder / f"{export}.mp4").read_text() == f"{accuracy} of {export}"
        assert await at.record(export) == ("delivered", "frame")
        assert await at.events(export) == [("delivered", "segment"), ("delivered", "frame")]
        assert at.names() == [f"{export}.mp4"]


async def test_a_late_less_exact_file_replaces_nothing(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at, served("exporter", build, at.settings):
        export = new_id()
        await at.done(await send(at.js, at.order(export, "frame")))
        await at.done(await send(at.js, at.order(export, "segment"), times=2))
        assert (at.folder / f"{export}.mp4").read_text() == f"frame of {export}"
        assert await at.record(export) == ("delivered", "frame")
        assert await at.events(export) == [("delivered", "frame")]


async def test_a_less_exact_file_waits_for_no_killed_delivery_of_the_exact_one(
    nats: NatsServer, tmp_path: Path
) -> None:
    """The exact file is in its place, and its exporter was killed before it could say so."""
    async with desk(nats, tmp_path) as at:
        export = new_id()
        left = ExportRecord(
            account=ACCOUNT, export=export, clip=export, state="delivering", accuracy="frame", changed_ms=0
        )
        await Bucket(lambda: at.js, "exports", ExportRecord).create(f"{ACCOUNT}.{export}", left)
        at.folder.mkdir(parents=True)
        (at.folder / f"{export}.mp4").write_text("exact")
        async with served("exporter", build, at.settings):
            await at.done(await send(at.js, at.order(export, "segment")))
            assert (at.folder / f"{export}.mp4").read_text() == "exact"
            await at.done(await send(at.js, at.order(export, "frame")))
        assert (at.folder / f"{export}.mp4").read_text() == f"frame of {export}"


async def test_two_instances_at_one_file(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        exports = [new_id() for _ in range(8)]
        sequence = 0
        for export in exports:
            for accuracy in ("segment", "frame"):
                sequence = await send(at.js, at.order(export, accuracy), times=2)
        async with served("exporter", build, at.settings), served("exporter", build, at.settings):
            await at.done(sequence)
        for export in exports:
            assert (at.folder / f"{export}.mp4").read_text() == f"frame of {export}"
            assert await at.record(export) == ("delivered", "frame")
            assert ("delivered", "frame") in await at.events(export)
            assert await letter(at.js, LANE, sequence) is None
        assert at.names() == sorted(f"{export}.mp4" for export in exports)


async def test_the_longest_name(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at, served("exporter", build, at.settings):
        export = new_id()
        name = f"{'n' * 251}.mp4"
        await at.done(await send(at.js, at.order(export, "frame", name=name)))
        assert at.names() == [name]
        assert await at.record(export) == ("delivered", "frame")


async def test_a_source_that_is_gone_is_told_at_once(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at, served("exporter", build, at.settings):
        export = new_id()
        order = at.order(export, "frame")
        open_store(at.settings).delete(order.source_key)
        sequence = await send(at.js, order, times=2)
        await at.done(sequence)
        assert await at.events(export) == [("failed", "frame")]
        assert await at.record(export) == ("failed", "frame")
        found = await letter(at.js, LANE, sequence)
        assert found is not None
        assert len(found["history"]) == 1, "no try is worth making again"
        assert at.names() == []
        await at.done(await send(at.js, at.order(export, "frame")))  # it is there again, and wanted again
        assert await at.record(export) == ("delivered", "frame")


async def test_a_library_that_cannot_be_written_is_tried_again_then_told(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at, served("exporter", build, at.settings):
        export, other = new_id(), new_id()
        at.settings.library_dir.write_text("not a folder")
        sequence = await send(at.js, at.order(export, "frame"))
        await at.done(sequence)
        assert await at.events(export) == [("failed", "frame")]
        found = await letter(at.js, LANE, sequence)
        assert found is not None
        assert found["deliveries"] == 10
        assert "the library could not take the file" in found["error"]
        at.settings.library_dir.unlink()
        await at.done(await send(at.js, at.order(other, "frame")))
        assert await at.events(other) == [("delivered", "frame")]


async def test_a_library_that_comes_back_gets_the_file(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(nats, tmp_path) as at:
        export = new_id()
        tries = 0
        real = shutil.copyfile

        def full(source: Path, target: Path) -> None:
            nonlocal tries
            tries += 1
            if tries > 3:
                real(source, target)
                return
            target.write_bytes(source.read_bytes()[:5])
            raise OSError(errno.ENOSPC, "full")

        def other_disk(source: Path, target: Path) -> None:
            raise OSError(errno.EXDEV, "another file system")

        monkeypatch.setattr(os, "link", other_disk)
        monkeypatch.setattr(shutil, "copyfile", full)
        async with served("exporter", build, at.settings):
            await at.done(await send(at.js, at.order(export, "frame")))
        assert tries == 4
        assert (at.folder / f"{export}.mp4").read_text() == f"frame of {export}"
        assert at.names() == [f"{export}.mp4"]


@pytest.mark.parametrize(("reserve", "reason"), [("0", "No space left"), ("", "too little room is left")])
async def test_a_full_disk_keeps_the_old_file_and_leaves_no_part(
    nats: NatsServer, tmp_path: Path, reserve: str, reason: str
) -> None:
    with small_disk(tmp_path, "256k") as disk:
        changed = {"store": str(tmp_path / "media"), "disk_reserve": reserve}
        async with desk(nats, disk.root, **changed) as at, served("exporter", build, at.settings):
            export = new_id()
            await at.done(await send(at.js, at.order(export, "segment", bytes(50_000))))
            sequence = await send(at.js, at.order(export, "frame", bytes(1 << 20)))
            await at.done(sequence)
            assert await at.events(export) == [("delivered", "segment"), ("failed", "frame")]
            assert (at.folder / f"{export}.mp4").stat().st_size == 50_000
            assert at.names() == [f"{export}.mp4"]
            found = await letter(at.js, LANE, sequence)
            assert found is not None
            assert reason in found["error"]


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    others = (Path("/dev/shm"), Path("/var/tmp"))
    other = next((path for path in others if path.is_dir() and path.stat().st_dev != tmp_path.stat().st_dev), None)
    if other is None:
        pytest.skip("there is no second file system")
    folder = other / f"reelay-{new_id()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def test_killed_in_the_middle_of_a_copy(nats: NatsServer, tmp_path: Path, other_disk: Path) -> None:
    """From one file system to another there is no link; what a killed exporter left is neither seen nor left."""
    async with desk(nats, tmp_path, store=str(other_disk)) as at:
        await apply(at.js, LANE, timedelta(seconds=1))
        export = new_id()
        order = at.order(export, "frame", os.urandom(100_000))
        sequence = await send(at.js, order)
        module = ("tests.support.exporter_child", str(tmp_path))
        with child(at.settings, tmp_path / "log", *module, REELAY_STORE=str(other_disk)) as process:
            assert await asyncio.to_thread(process.wait, 60) == -9
        assert not (at.folder / f"{export}.mp4").exists()
        assert len(at.names()) == 1
        with child(at.settings, tmp_path / "log", *module, REELAY_STORE=str(other_disk)):
            await at.done(sequence)
        assert (at.folder / f"{export}.mp4").read_bytes() == (other_disk / order.source_key).read_bytes()
        assert at.names() == [f"{export}.mp4"]
        await apply(at.js, LANE, timedelta(seconds=30))


async def test_a_delivery_leaves_no_lock_and_a_deletion_nothing(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at, served("exporter", build, at.settings):
        export = new_id()
        await at.done(await send(at.js, at.order(export, "frame")))
        assert at.names() == [f"{export}.mp4"]
        assert not list((at.folder / library.LOCKS).glob("*"))
        wish = LibraryDelete(account=ACCOUNT, file=new_id(), file_name=f"{export}.mp4", at_ms=1)
        sequence = await send(at.js, wish, times=2)
        await until(lambda: idle(at.js, "exporter-delete", sequence))
        assert at.names() == []
        assert not list((at.folder / library.LOCKS).glob("*"))
