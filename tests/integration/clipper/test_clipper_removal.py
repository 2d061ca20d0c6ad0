"""Clips go with their files: by a client's wish or by age, when they have ended, and however often that is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from services.clipper.app import build
from services.clipper.ranges import SourceRanges
from services.clipper.removal import Removal
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCreate, ClipDelete, ClipRecord, VodState
from shared.messages.destinations import DestinationSpec
from shared.messages.ranges import Selection
from shared.runtime.clock import SystemClock
from shared.store.local import LocalStore
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import idle, new_id, send, served, settings_for

ACCOUNT = "main"


@dataclass
class Shelf:
    """Clips as a clipper left them."""

    js: JetStreamContext
    store: LocalStore

    @property
    def bucket(self) -> Bucket[ClipRecord]:
        return Bucket(lambda: self.js, "clips", ClipRecord)

    async def put(self, state: VodState, finished_ms: int | None = None) -> str:
        clip = new_id()
        asked = ClipCreate(
            account=ACCOUNT, event=new_id(), clip=clip, requested_ms=0, live=False, asked_duration=Fraction(1),
            selection=Selection(clock="stream", start=Fraction(0), end=Fraction(1)),
            destinations=(DestinationSpec(export=clip, file_name="x.mp4"),),
        )  # fmt: skip
        record = ClipRecord(
            account=ACCOUNT, clip=clip, request=asked, state=state, created_ms=0, changed_ms=0, finished_ms=finished_ms
        )
        await self.bucket.create(f"{ACCOUNT}.{clip}", record)
        for name in ("segment", "frame"):
            self.store.put(f"clips/{ACCOUNT}/{clip}/{name}.mp4", b"media")
        return clip

    async def there(self, clip: str) -> tuple[bool, int]:
        """Whether a clip has a record, and how many files."""
        stored = await self.bucket.get(f"{ACCOUNT}.{clip}")
        return stored is not None, len(list(self.store.list(f"clips/{ACCOUNT}/{clip}")))


@pytest.fixture
async def shelf(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with connected(nats.url) as js:
        yield Shelf(js, LocalStore(settings_for(nats, tmp_path).media_dir))


async def test_a_wish_takes_a_clip_that_has_ended_and_no_other(shelf: Shelf, nats: NatsServer, tmp_path: Path) -> None:
    ended, working = await shelf.put("finished", 0), await shelf.put("processing")
    async with served("clipper", build, settings_for(nats, tmp_path)):
        for clip in (ended, working, new_id()):
            sequence = await send(shelf.js, ClipDelete(account=ACCOUNT, clip=clip, at_ms=1), times=2)
        await until(lambda: idle(shelf.js, "clipper-delete", sequence))
    assert await shelf.there(ended) == (False, 0)
    assert await shelf.there(working) == (True, 2)


async def test_what_is_older_than_the_setting_goes(shelf: Shelf) -> None:
    clock = SystemClock()
    now, day = clock.now_ms(), 86_400_000
    old, young = await shelf.put("finished", now - 8 * day), await shelf.put("finished", now - 6 * day)
    failed, working = await shelf.put("failed", now - 8 * day), await shelf.put("waiting")
    ranges = SourceRanges(lambda: shelf.js, clock)
    kept = Removal(shelf.bucket, ranges, shelf.store, clock, timedelta(0))
    assert await kept.expire() == 0
    week = Removal(shelf.bucket, ranges, shelf.store, clock, timedelta(days=7))
    assert await week.expire() == 2
    assert await week.expire() == 0
    assert [await shelf.there(clip) for clip in (old, failed)] == [(False, 0)] * 2
    assert [await shelf.there(clip) for clip in (young, working)] == [(True, 2)] * 2
