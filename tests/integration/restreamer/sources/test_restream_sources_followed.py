"""A live job that is sent on: what cannot be read is left out, and it ends when the job has."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import cast

import pytest

from services.restreamer.model import Media, Packet, SourceError
from services.restreamer.sources import Access
from shared.errors import Unavailable
from shared.messages.jobs import JobRecord
from shared.messages.live import JobState
from shared.store import MediaStore
from shared.store.base import ObjectMissing
from tests.support.clipper_desk import ACCOUNT, Desk
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import settings_for
from tests.support.sources import QUICK, access_to, check_times, numbers, opened

pytestmark = pytest.mark.timeout(120)
HASTY = replace(QUICK, outage=timedelta(milliseconds=100), live_return=timedelta(0))


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Eight seconds: frames 0 to 239 in four segments."""
    return record(Spec(seconds=Fraction(8)), tmp_path_factory.mktemp("stream"))


@pytest.fixture
async def desk(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        yield Desk(js, settings_for(nats, tmp_path))


@dataclass
class Distant:
    """The desk's store as one in a network, which may be away, or lose an object between two reads of it."""

    desk: Desk
    away: bool = False
    loses: str = ""
    """A key that can be read once."""
    refused: int = 0
    seen: set[str] = field(default_factory=set)

    def get(self, key: str, *, limit: int = 64 << 20) -> bytes:
        """Read an object."""
        if self.away:
            self.refused += 1
            raise Unavailable("the store is away")
        if key == self.loses and key in self.seen:
            self.refused += 1
            raise ObjectMissing(key)
        self.seen.add(key)
        return self.desk.store.get(key, limit=limit)

    async def failed(self, times: int) -> None:
        """Wait until so many reads have failed."""
        await until(lambda: asyncio.sleep(0, self.refused >= times))


@dataclass
class Output:
    """Reads a job in a thread, over its seams, as an output does: opening it is a part of that."""

    access: Access
    event: str
    parts: list[list[Packet]] = field(default_factory=list)
    media: Media | None = None
    error: SourceError | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            media = self.media = opened("job", self.event, self.access)
            start: int | None = 0
            while start is not None:
                self.parts.append([])
                for packet in media.packets(start):
                    self.parts[-1].append(packet)
                start = media.resumes
        except SourceError as error:
            self.error = error

    async def saw(self, pictures: int) -> None:
        """Wait until so many pictures have come, in all parts."""

        async def enough() -> bool:
            assert self.error is None
            return sum(p.kind == "video" for part in list(self.parts) for p in list(part)) >= pictures

        await until(enough)

    async def ended(self) -> list[list[int]]:
        """Wait for the end, which is no failure; return the pictures' numbers, part by part."""
        await asyncio.to_thread(self.thread.join, 30)
        assert not self.thread.is_alive()
        assert self.error is None
        assert self.media is not None
        for part in self.parts:
            check_times(part)
        return [numbers(self.media.video, part) for part in self.parts]


async def job_is(desk: Desk, state: JobState, *sessions: str) -> None:
    job = JobRecord(
        account=ACCOUNT, event=desk.event, state=state, created_ms=0, changed_ms=0, stream_key="", passphrase="",
        open_sessions=sessions,
    )  # fmt: skip
    await (await desk.js.key_value("events")).put(f"{ACCOUNT}.{desk.event}", job.model_dump_json().encode())


def output(desk: Desk, store: Distant | None = None) -> Output:
    access = access_to(
        desk.settings.data_dir, js=lambda: desk.js, loop=asyncio.get_running_loop(), limits=HASTY,
        store=desk.store if store is None else cast("MediaStore", store),
    )  # fmt: skip
    return Output(access, desk.event)


async def test_it_goes_on_with_what_is_newest_after_the_store_was_away(desk: Desk, stream: Recording) -> None:
    segments, store = desk.session(stream), Distant(desk)
    await job_is(desk, "processing", segments[0].session)
    await desk.announce(segments[:1])
    sent = output(desk, store)
    await sent.saw(60)
    store.away = True
    await desk.announce(segments[1:2])
    await store.failed(5)  # for longer than is waited for one segment
    await desk.announce(segments[2:3])
    await store.failed(10)
    store.away = False
    await sent.saw(120)
    await desk.announce(segments[3:])
    await sent.saw(180)
    await job_is(desk, "finished")
    shown = [number for part in await sent.ended() for number in part]
    assert shown[:60] == list(range(60))
    assert shown[-60:] == list(range(180, 240))
    assert shown == sorted(set(shown)), "nothing is sent twice"


async def test_it_waits_for_a_store_that_is_away_when_it_begins(desk: Desk, stream: Recording) -> None:
    segments, store = desk.session(stream), Distant(desk, away=True)
    await job_is(desk, "processing", segments[0].session)
    await desk.announce(segments[:2])
    sent = output(desk, store)
    await store.failed(6)
    store.away = False
    await sent.saw(60)
    await job_is(desk, "finished")
    assert await sent.ended() == [list(range(60, 120))]


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_segment_that_goes_while_it_is_read_is_left_out(desk: Desk, stream: Recording, lost: int) -> None:
    segments = desk.session(stream)
    store = Distant(desk, loses=segments[lost].key)
    await job_is(desk, "processing", segments[0].session)
    await desk.announce(segments[:1])
    sent = output(desk, store)
    for number, segment in enumerate(segments):
        if number:
            await desk.announce([segment])
        if number == lost:
            await store.failed(1)
        else:
            await sent.saw(60 * (number + (number < lost)))
    await job_is(desk, "finished")
    shown = [number for part in await sent.ended() for number in part]
    assert shown == [number for number in range(240) if number // 60 != lost]


async def test_a_file_cut_short_and_written_anew_is_no_end(desk: Desk, stream: Recording) -> None:
    """A segment's file has lost its end when it is read: as after a write that failed and was undone."""
    segments = desk.session(stream)
    path = desk.store.path(segments[1].key)
    whole = path.read_bytes()
    path.unlink()
    for segment in segments[2:]:
        desk.store.path(segment.key).unlink()
    await job_is(desk, "processing", segments[0].session)
    await desk.announce(segments[:1])
    sent = output(desk)
    await sent.saw(60)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    await sent.saw(70)
    path.write_bytes(whole[:200])
    path.write_bytes(whole)
    await desk.announce(segments[1:2])
    await sent.saw(100)
    await job_is(desk, "finished")
    await sent.ended()


async def test_a_record_of_the_job_that_cannot_be_read_ends_nothing(desk: Desk, stream: Recording) -> None:
    """As while a newer gateway writes what this restreamer does not know yet."""
    segments = desk.session(stream)
    kv = await desk.js.key_value("events")
    await kv.put(f"{ACCOUNT}.{desk.event}", b"{}")
    await desk.announce(segments[:1])
    sent = output(desk, Distant(desk))
    await desk.announce(segments[1:2])
    await job_is(desk, "processing", segments[0].session)
    await sent.saw(60)
    await kv.put(f"{ACCOUNT}.{desk.event}", b"{}")
    await desk.announce(segments[2:3])
    await sent.saw(120)
    await job_is(desk, "finished")
    await sent.ended()
