"""Clips on a disk that is nearly full, and files that two clippers make: what is there is whole, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import threading
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.clipper import app, cutter, watching
from services.clipper.cutter import ClipCutter
from services.clipper.movie import movie
from shared.broker import middleware
from shared.media.seams.errors import Stopped
from shared.messages.clips import ENCRYPTION_PURPOSE, ClipEncryption, ClipRefine
from shared.messages.edits import Crop, PictureEdit
from shared.runtime.settings import Settings
from shared.security.secrets import Vault
from shared.store.reserve import Reserve
from tests.support.clipper_desk import ACCOUNT, Desk, desk, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import SECRET, idle, send
from tests.support.waiting import comes

MIB = 1 << 20
EDIT = PictureEdit(crop=Crop(aspect="1:1"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Frames 0 to 89."""
    return record(Spec(seconds=Fraction(3)), tmp_path_factory.mktemp("first"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=20))


class Disk:
    """A disk of which 32 MiB are kept for recordings, so that other writers leave 96 MiB free."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.free, self.looks = 1000 * MIB, 0
        self.on_look: Callable[[], None] = lambda: None
        patch.setattr(app, "store_reserve", lambda of: Reserve(of.media_dir, 32 * MIB, self.measure))

    def measure(self, _folder: Path) -> tuple[int, int, int]:
        self.looks += 1
        self.on_look()
        return 1000 * MIB, 1000 * MIB - self.free, self.free


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def left(at: Desk, clip: str) -> list[str]:
    """Return the names in a clip's folder, those of drafts too."""
    return sorted(path.name for path in at.store.path(f"clips/{ACCOUNT}/{clip}").glob("*"))


async def announced(at: Desk, of: Recording) -> None:
    segments = at.session(of)
    await at.job("finished")
    await at.publishing(segments, ended=True)
    await at.announce(segments)


async def test_an_edited_clip_waits_for_room(nats: NatsServer, tmp_path: Path, first: Recording, disk: Disk) -> None:
    def later() -> None:
        if disk.looks == 3:
            disk.free = 1000 * MIB

    async with desk(nats, tmp_path) as at, serving(at):
        await announced(at, first)
        disk.free, disk.on_look = 96 * MIB, later
        order = at.order(1, 2, edit=EDIT)
        await send(at.js, order)
        ended = await at.ended(order.clip)
        assert (ended.state, ended.error, disk.looks >= 3) == ("finished", "", True)
        assert left(at, order.clip) == ["frame.mp4"]
        disk.free, disk.on_look = 96 * MIB, lambda: None
        other = at.order(1, 2, edit=EDIT)
        await send(at.js, other)
        ended = await at.ended(other.clip)
        assert (ended.state, "too little room is left: 96 MiB are free" in ended.error) == ("failed", True)
        assert (ended.file, left(at, other.clip)) == (None, [])


@pytest.mark.parametrize("again", [True, False], ids=["there is room again", "there is none"])
async def test_a_cut_ends_when_the_disk_fills_meanwhile(
    nats: NatsServer, tmp_path: Path, first: Recording, disk: Disk, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """What pictures that are encoded again take is not known before: they may need far more than the recording's."""
    real, stopped = cutter.render_edited, threading.Event()

    def filling(spans: Any, spool: Any, stop: threading.Event, *more: Any, **others: Any) -> Any:
        if stopped.is_set() and again:
            return real(spans, spool, stop, *more, **others)
        spool.append(bytes(MIB))
        disk.free = 90 * MIB
        assert stop.wait(30)
        stopped.set()
        disk.free = 1000 * MIB
        raise Stopped("stopped while encoding")

    monkeypatch.setattr(cutter, "render_edited", filling)
    async with desk(nats, tmp_path) as at, serving(at):
        await announced(at, first)
        order = at.order(1, 2, edit=EDIT)
        await send(at.js, order)
        ended = await at.ended(order.clip)
        assert stopped.is_set()
        if again:
            assert (ended.state, ended.error, left(at, order.clip)) == ("finished", "", ["frame.mp4"])
        else:
            assert (ended.state, "too little room is left: 90 MiB are free" in ended.error) == ("failed", True)
            assert left(at, order.clip) == []


async def test_a_disk_that_takes_no_more_fails_a_clip_in_words_and_has_nothing_of_it(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(movie, "write_ranges", full)
    async with desk(nats, tmp_path) as at, serving(at):
        await announced(at, first)
        order = at.order(1, 2)
        await send(at.js, order)
        ended = await at.ended(order.clip)
        assert ended.state == "failed"
        assert "no room is left in the store" in ended.error
        assert str(tmp_path) not in ended.error
        assert left(at, order.clip) == []


def test_where_media_is_in_s3_clips_keep_room_free_on_this_machine(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, store="s3://bucket", disk_reserve="3GiB")
    reserve = app._cutting_reserve(settings)
    assert (reserve.folder, reserve.kept(reserve.room())) == (tmp_path, 3 << 30)


async def test_a_clipper_that_was_cut_off_leaves_the_file_that_another_made(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both encrypt it, each with other bytes: what was told of, and delivered, is what stays."""
    real, begun, held = ClipCutter.exact, threading.Event(), threading.Event()

    def exact(self: ClipCutter, *args: Any, **more: Any) -> Any:
        if begun.is_set():
            return real(self, *args, **more)
        begun.set()
        assert held.wait(60)
        return real(self, *args, **more)

    monkeypatch.setattr(ClipCutter, "exact", exact)
    monkeypatch.setattr(watching, "LOOK", timedelta(minutes=1))  # it cannot look: the broker does not answer it
    sealed = Vault(SECRET.encode()).encrypt(bytes(range(16)).hex(), ENCRYPTION_PURPOSE)
    async with desk(nats, tmp_path) as at, serving(at, "clipper", "clipper", "exporter"):
        await announced(at, first)
        order = at.order(1, 2, encryption=ClipEncryption(kid="0f" * 16, key=sealed))
        await send(at.js, order)
        assert await asyncio.to_thread(begun.wait, 60)
        await send(at.js, ClipRefine(account=ACCOUNT, clip=order.clip))  # as if nothing were heard of the first one

        async def finished() -> bool:
            found = await at.record(order.clip)
            return bool(found and found.state == "finished")

        await until(finished)
        held.set()
        ended = await at.ended(order.clip)
        assert await idle(at.js, "clipper-refine")
        assert ended.file is not None
        made = at.store.path(ended.file.key)
        assert hashlib.sha256(made.read_bytes()).hexdigest() == ended.file.sha256
        assert made.read_bytes() == at.file(order.clip).read_bytes()
        await comes(lambda: left(at, order.clip) == ["frame.mp4"])
