"""Clips of recordings in S3: what passes through this machine's disk is bounded, and leaves nothing there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.clipper import leftovers
from services.clipper.cutter import ClipCutter
from services.clipper.footage import Footage, Recorded
from shared.broker import middleware
from shared.errors import Unavailable
from shared.media.seams.errors import Stopped
from shared.messages.media import SegmentWritten
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings
from shared.store.opening import open_store
from tests.support.clipper_desk import ACCOUNT, Desk, serving
from tests.support.framecode import play
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.s3 import s3_server
from tests.support.shared_bus import send, settings_for


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Frames 0 to 119, in two segments."""
    return record(Spec(seconds=Fraction(4)), tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server("media") as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))


class Elsewhere(Desk):
    """A desk whose store is in S3."""

    @property
    def store(self) -> Any:
        return open_store(self.settings)

    def uploaded(self, recording: Recording) -> list[SegmentWritten]:
        segments = self.session(recording)
        for key in {key for segment in segments for key in (segment.init_key, segment.key)}:
            self.store.commit(key)
        return segments


def elsewhere(settings: Settings) -> Elsewhere:
    return Elsewhere(js=None, settings=settings)  # type: ignore[arg-type]


def spooled(folder: Path) -> list[str]:
    """Return the files in the spool, without the locks of processes."""
    return [path.name for path in (folder / "spool").rglob("*") if path.is_file() and path.name != "lock"]


async def test_a_clip_needs_room_for_what_it_fetches(
    nats: NatsServer, tmp_path: Path, first: Recording, s3: str
) -> None:
    where = {"store": f"s3://media/{tmp_path.name}", "s3_endpoint": s3}
    async with connected(nats.url) as js:
        at = Elsewhere(js, settings_for(nats, tmp_path, **where))
        segments = at.uploaded(first)
        await at.job("finished")
        await at.publishing(segments, ended=True)
        await at.announce(segments)
        good, bad = at.order(1, 3), at.order(1, 3)
        async with serving(at, "clipper"):
            await send(at.js, good)

            async def exact() -> Any:
                found = await at.record(good.clip)
                return found.file if found and found.file and found.file.accuracy == "frame" else None

            file = await until(exact)
        with at.store.local(file.key) as path:
            assert play(path).numbers == list(range(30, 90))
        at.settings.disk_reserve = "900TiB"
        async with serving(at, "clipper"):
            await send(at.js, bad)

            async def failed() -> str:
                found = await at.record(bad.clip)
                return found.error if found and found.state == "failed" else ""

            assert "too little room is left" in await until(failed)
        assert spooled(tmp_path) == []


def footage(segments: list[SegmentWritten]) -> Footage:
    return Footage((Recorded(segments, Fraction(1), Fraction(3), Fraction(3)),))


def test_a_file_that_cannot_be_uploaded_is_not_kept(
    tmp_path: Path, first: Recording, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut again, perhaps by a clipper on another machine: nobody would upload or remove this one."""
    at = elsewhere(Settings(data_dir=tmp_path, store=f"s3://media/{tmp_path.name}", s3_endpoint=s3))
    segments, store, key = at.uploaded(first), at.store, f"clips/{ACCOUNT}/x/frame.mp4"

    def away(_key: str) -> None:
        raise Unavailable("the store failed")

    cutter = ClipCutter(store)
    made = cutter.exact(footage(segments), key, threading.Event())
    with monkeypatch.context() as patch:
        patch.setattr(store, "commit", away)
        with pytest.raises(Unavailable):
            cutter.publish(made)
    assert spooled(tmp_path) == []
    cutter.publish(cutter.exact(footage(segments), key, threading.Event()))
    assert store.info(key) is not None


def test_a_cancelled_clip_fetches_no_more(tmp_path: Path, first: Recording, s3: str) -> None:
    at = elsewhere(Settings(data_dir=tmp_path, store=f"s3://media/{tmp_path.name}", s3_endpoint=s3))
    segments, store, stop = at.uploaded(first), at.store, threading.Event()
    real, asked = store.local, list[str]()

    def counted(key: str) -> Any:
        asked.append(key)
        stop.set()
        return real(key)

    store.local = counted
    with pytest.raises(Stopped):
        ClipCutter(store).exact(footage(segments), "clips/a/b/frame.mp4", stop)
    assert (len(asked), spooled(tmp_path)) == (1, [])


def test_what_killed_clippers_did_not_upload_is_removed_after_a_day(tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path, store="s3://media"))
    old, young, draft = (store.begin(f"clips/{ACCOUNT}/{clip}/frame.mp4") for clip in ("a" * 32, "b" * 32, "c" * 32))
    draft = draft.with_name(".frame.mp4.0badcafe.part")
    recording = store.begin("live/x/y/primary-1/00000000.m4s")
    for file in (old, young, draft, recording):
        file.write_bytes(b"x")
    now = time.time()
    for file, age in ((old, 90_000), (young, 80_000), (draft, 700), (recording, 90_000)):
        os.utime(file, (now - age, now - age))
    clock = SystemClock()
    assert leftovers.sweep(store, leftovers.FOLDER, clock.now_ms()) == 2
    assert [file.exists() for file in (old, young, draft, recording)] == [False, True, False, True]
    os.utime(old.parent, (now - 90_000, now - 90_000))
    leftovers.sweep(store, leftovers.FOLDER, clock.now_ms())
    assert (old.parent.exists(), young.parent.exists()) == (False, True)
