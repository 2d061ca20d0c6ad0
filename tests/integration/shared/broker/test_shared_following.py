"""What is kept in memory of a bucket: read once, then by what was written since, whatever becomes of the broker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import nats as nats_py
import pytest
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig

from shared.broker.following import Following
from shared.broker.kv import Bucket, Change
from shared.errors import Unavailable
from shared.messages.base import Record
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import connected, until
from tests.support.shared_bus import new_id


class Word(Record):
    text: str


class Words(Following[Word]):
    """Follows, and notes what it was told."""

    def __init__(self, js: JetStreamContext, bucket: str) -> None:
        super().__init__(lambda: js, bucket, Word)
        self.held: dict[str, str] = {}
        self.told: list[str] = []
        self.faults: list[Exception] = []
        self.ends = 0

    def _forget(self) -> None:
        self.held.clear()

    def _take(self, change: Change[Word]) -> None:
        self.told.append(change.key)
        if self.faults and len(self.held) > 1:
            raise self.faults.pop()
        self.held.pop(change.key, None)
        if change.value is not None:
            self.held[change.key] = change.value.text

    async def _end(self) -> None:
        self.ends += 1


class Desk:
    def __init__(self, js: JetStreamContext, name: str) -> None:
        self.js, self.name = js, name
        self.bucket = Bucket(lambda: js, name, Word)
        self.words = Words(js, name)

    async def write(self, key: str, text: str) -> None:
        await self.bucket.change(key, lambda _old: Word(text=text))


@pytest.fixture
async def desk(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        name = f"words-{new_id()}"
        await js.create_key_value(KeyValueConfig(bucket=name, history=1))
        yield Desk(js, name)
        await js.delete_key_value(name)


async def test_everything_once_and_then_what_was_written_since(desk: Desk) -> None:
    await desk.words.refresh()
    assert (desk.words.held, desk.words.ends) == ({}, 0), "there is nothing to read"
    for number in range(3):
        await desk.write(f"a.{number}", "first")
    await desk.words.refresh()
    assert desk.words.held == dict.fromkeys(["a.0", "a.1", "a.2"], "first")
    desk.words.told.clear()
    await desk.words.refresh()
    assert desk.words.told == []
    await desk.write("a.1", "second")
    await desk.bucket.delete("a.2")
    await desk.write("other", "not of the pattern")
    await desk.words.refresh()
    assert desk.words.told == ["a.1", "a.2"]
    assert desk.words.held == {"a.0": "first", "a.1": "second"}
    assert desk.words.ends == 1


async def test_many_who_ask_at_once_read_once(desk: Desk) -> None:
    await desk.write("a.1", "text")
    await asyncio.gather(*(desk.words.refresh() for _ in range(20)))
    assert desk.words.told == ["a.1"]


@pytest.mark.parametrize("left", [0, 1, 3, 5])
async def test_a_bucket_that_was_made_anew_is_read_anew(desk: Desk, left: int) -> None:
    for number in range(3):
        await desk.write(f"a.{number}", "old")
    await desk.words.refresh()
    await desk.js.delete_key_value(desk.name)
    await desk.js.create_key_value(KeyValueConfig(bucket=desk.name, history=1))
    for number in range(left):
        await desk.write(f"b.{number}", "new")
    await desk.words.refresh()
    assert desk.words.held == dict.fromkeys([f"b.{n}" for n in range(left)], "new")


@pytest.mark.parametrize("left", [0, 1, 5])
async def test_of_a_bucket_that_was_emptied_nothing_is_kept(desk: Desk, left: int) -> None:
    for number in range(3):
        await desk.write(f"a.{number}", "old")
    await desk.words.refresh()
    await desk.js.purge_stream(f"KV_{desk.name}")
    for number in range(left):
        await desk.write(f"b.{number}", "new")
    await desk.words.refresh()
    assert desk.words.held == dict.fromkeys([f"b.{n}" for n in range(left)], "new")


@dataclass
class Apart:
    """A broker of a test's own, with a bucket of three words."""

    server: NatsServer
    desk: Desk

    def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        """Start the broker again, and wait until this client has connected again."""
        client = self.desk.js._nc
        before = client.stats["reconnects"]
        self.server.start()
        await until(lambda: asyncio.sleep(0, client.stats["reconnects"] > before and client.is_connected))


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[Apart]:
    with nats_server(tmp_path / "nats", provisioned=False) as server:
        client = await nats_py.connect(server.url, reconnect_time_wait=0.02, max_reconnect_attempts=-1)
        js = client.jetstream()
        await js.create_key_value(KeyValueConfig(bucket="words", history=1))
        desk = Desk(js, "words")
        for number in range(3):
            await desk.write(f"a.{number}", "kept")
        yield Apart(server, desk)
        await client.close()


@pytest.mark.parametrize("left", [0, 1, 2, 4])
async def test_a_broker_that_was_set_back_is_read_anew(apart: Apart, tmp_path: Path, left: int) -> None:
    """The last two of the five messages are lost; others take their places before anybody looks."""
    desk, files = apart.desk, apart.server.folder / "js"
    apart.kill()
    shutil.copytree(files, tmp_path / "backup")
    await apart.start()
    for number in range(2):
        await desk.write(f"a.{number}", "lost")
    await desk.words.refresh()
    assert desk.words.held == {"a.0": "lost", "a.1": "lost", "a.2": "kept"}
    apart.kill()
    shutil.rmtree(files)
    shutil.copytree(tmp_path / "backup", files)
    await apart.start()
    new = {f"b.{number}": "new" for number in range(left)}
    for key, text in new.items():
        await desk.write(key, text)
    await desk.words.refresh()
    assert desk.words.held == {"a.0": "kept", "a.1": "kept", "a.2": "kept"} | new


async def test_a_broker_that_comes_back_as_it_was_is_not_read_anew(apart: Apart) -> None:
    desk = apart.desk
    await desk.words.refresh()
    for texts in ([], ["second"], ["third", "fourth"]):
        apart.kill()
        await apart.start()
        for text in texts:
            await desk.write("a.2", text)
        await desk.words.refresh()
    assert desk.words.ends == 1
    assert desk.words.held == {"a.0": "kept", "a.1": "kept", "a.2": "fourth"}


async def test_what_breaks_half_way_is_read_again(desk: Desk) -> None:
    for number in range(5):
        await desk.write(f"a.{number}", "text")
    desk.words.faults = [Unavailable("gone")]
    with pytest.raises(Unavailable):
        await desk.words.refresh()
    assert desk.words.ends == 0
    await desk.words.refresh()
    assert len(desk.words.held) == 5
    desk.words.faults = [Unavailable("gone")]
    await desk.write("a.5", "text")
    with pytest.raises(Unavailable):
        await desk.words.refresh()
    await desk.words.refresh()
    assert len(desk.words.held) == 6
    assert desk.words.ends == 1


async def test_it_keeps_up_by_itself_and_through_a_fault(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.broker.following.REFRESH", timedelta(milliseconds=20))
    for number in range(3):
        await desk.write(f"a.{number}", "text")
    desk.words.faults = [Unavailable("gone")]
    async with desk.words.running():
        await until(lambda: asyncio.sleep(0, len(desk.words.held) == 3))
        await desk.write("a.3", "text")
        await until(lambda: asyncio.sleep(0, "a.3" in desk.words.held))
