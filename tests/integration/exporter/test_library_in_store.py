"""With media in S3 the library lies there, too: gateway, exporter and restreamer elsewhere see the same files."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.exporter.app import build
from services.exporter.deliver import Deliverer
from services.exporter.destinations.library import LibraryMaker, Seen
from services.exporter.destinations.library_store import StoreShelf
from services.exporter.records import Exports
from services.exporter.transfer import Pace
from services.exporter.workshop import Workshop
from services.gateway.native.library import routes as library_api
from services.restreamer.model import SourceError
from services.restreamer.sources.access import Gone, Limits
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.messages.clips import Accuracy
from shared.messages.credentials import CredentialRecord
from shared.messages.destinations import DestinationSpec
from shared.messages.exports import ExportDeliver, ExportRecord, LibraryDelete
from shared.runtime.clock import SystemClock
from shared.runtime.service import make_service
from shared.runtime.settings import Settings
from shared.store import MediaStore
from shared.store.library import LibraryFile
from shared.store.library_store import StoreLibrary
from shared.store.opening import open_store
from tests.support.api_gateway import gateway
from tests.support.export_desk import FAST
from tests.support.framecode_record import Spec, encode
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.s3 import s3_server
from tests.support.shared_bus import SECRET, idle, new_id, send, served
from tests.support.sources import ACCOUNT, access_to, numbers, opened
from tests.support.waiting import wait_until

BUCKET = "reelay"
FILM = Spec()
SMALL = Limits(patience=timedelta(seconds=5), block=1 << 14, blocks=2)
BLIND = timedelta(seconds=30)
"""A look that a fast file's delivery never comes to."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server(BUCKET) as server:
        yield server


@pytest.fixture
def store(endpoint: str, tmp_path: Path) -> MediaStore:
    return open_store(settings(endpoint, tmp_path, "of the test"))


def settings(endpoint: str, folder: Path, machine: str, nats: str = "") -> Settings:
    """Settings of a machine: a disk of its own, and the one bucket."""
    return Settings(
        data_dir=folder / machine, store=f"s3://{BUCKET}/{folder.name}", s3_endpoint=endpoint, nats_url=nats,
        secret_key=SecretStr(SECRET),
    )  # fmt: skip


def order(store: MediaStore, export: str, accuracy: Accuracy, data: bytes = b"") -> ExportDeliver:
    key, content = f"clips/{ACCOUNT}/{export}/{accuracy}.mp4", data or f"{accuracy} of {export}".encode()
    store.put(key, content)
    return ExportDeliver(
        account=ACCOUNT, export=export, clip=export, accuracy=accuracy, source_key=key, bytes=len(content),
        destination=DestinationSpec(export=export, file_name=f"{export}.mp4"),
    )  # fmt: skip


async def test_a_delivered_clip_is_listed_sent_in_ranges_and_deleted(
    nats: NatsServer, endpoint: str, store: MediaStore, tmp_path: Path
) -> None:
    here = settings(endpoint, tmp_path, "exporter", nats.url)
    more = {"store": here.store, "s3_endpoint": endpoint}
    async with (
        connected(nats.url) as js, gateway(nats, tmp_path / "gateway", **more) as api, served("exporter", build, here)
    ):  # fmt: skip
        assert (await api.http.get("/v1/library")).json() == {"files": [], "next_token": None}
        exports = sorted(new_id() for _ in range(3))
        for export in exports:
            for accuracy in ("segment", "frame"):
                sequence = await send(js, order(store, export, accuracy), times=2)
        await until(lambda: idle(js, "exporter-deliver", sequence))
        store.put(f"library/{ACCOUNT}/hidden/hidden", b"in a folder")
        store.put("library/other/secret.mp4", b"secret")
        first = (await api.http.get("/v1/library", params={"page_size": 2})).json()
        names = [f"{export}.mp4" for export in exports]
        assert [f["name"] for f in first["files"]] == names[:2]
        assert abs(first["files"][0]["modified_at"] - time.time() * 1000) < 60_000
        second = (await api.http.get("/v1/library", params={"start_token": first["next_token"]})).json()
        assert ([f["name"] for f in second["files"]], second["next_token"]) == (names[2:], None)
        url = first["files"][0]["url"]
        got = await api.http.get(url, headers={"Range": "bytes=0-4"})
        assert (got.status_code, got.content) == (206, b"frame")
        assert (await api.http.get(url)).text == f"frame of {exports[0]}"
        assert (await api.http.get(url, headers={"If-None-Match": got.headers["etag"]})).status_code == 304
        for bad in ("secret.mp4", "nope.mp4", "hidden", "hidden%2fhidden"):
            assert (await api.http.get(f"/v1/library/{bad}")).status_code == 404, bad
        assert (await api.http.delete(url)).status_code == 204
        assert (await api.http.get(url)).status_code == 404
        assert (await api.http.delete(url)).status_code == 404
        assert not (tmp_path / "gateway" / "library").exists()
        assert not (here.data_dir / "library").exists()


@pytest.mark.parametrize("swaps", [1, 2, 3])
async def test_a_file_that_is_swapped_between_look_and_read_is_sent_as_one(
    nats: NatsServer, endpoint: str, store: MediaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: int
) -> None:
    key, look, left = f"library/{ACCOUNT}/goal.mp4", StoreLibrary.look, [swaps]
    store.put(key, b"old" + bytes(20_000))

    def swapped(self: StoreLibrary, account: str, name: str) -> LibraryFile | None:
        file = look(self, account, name)
        if left[0]:
            left[0] -= 1
            store.put(key, b"new" + bytes(1000 * left[0]))
        return file

    monkeypatch.setattr(StoreLibrary, "look", swapped)
    more = {"store": settings(endpoint, tmp_path, "x").store, "s3_endpoint": endpoint}
    async with gateway(nats, tmp_path / "gateway", **more) as api:
        answer = await api.http.get("/v1/library/goal.mp4")
        if swaps == library_api.TRIES:
            assert answer.status_code == 404
            answer = await api.http.get("/v1/library/goal.mp4")
        assert answer.content == b"new"
        assert answer.headers["content-length"] == "3"


@pytest.mark.parametrize("killed", [False, True])
async def test_whatever_two_exporters_do_the_exact_file_is_left(
    nats: NatsServer, endpoint: str, store: MediaStore, tmp_path: Path, killed: bool
) -> None:
    """Nothing locks in S3: the fast file's copy ends after the exact one's, and its exporter is killed then, or not."""
    export, service = new_id(), make_service("exporter", settings(endpoint, tmp_path, "one", nats.url))
    await service.broker.connect()
    records = Bucket(service.js, "exports", ExportRecord)
    credentials = Bucket(service.js, "credentials", CredentialRecord)
    loop = asyncio.get_running_loop()
    overtaken: list[str] = []
    fast, exact = order(store, export, "segment"), order(store, export, "frame")

    def exporter(shelf: StoreShelf, look: timedelta = FAST.look) -> Deliverer:
        workshop = Workshop({"library": LibraryMaker(shelf)}, credentials, service.vault)
        exports = Exports(records, SystemClock())
        return Deliverer(store, exports, workshop, service.outbox, SystemClock(), pace=Pace(look=look))

    class Late(StoreShelf):
        """Copies the fast file when the exact one has been delivered."""

        def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
            if "segment" in key and not overtaken:
                overtaken.append(key)
                other = exporter(StoreShelf(store))
                assert asyncio.run_coroutine_threadsafe(other.deliver(exact), loop).result(30)
                super().put(store, key, account, name)
                if killed:
                    raise KeyError("killed")
            return super().put(store, key, account, name)

    if killed:
        with pytest.raises(KeyError):
            await exporter(Late(store), BLIND).deliver(fast)
        assert store.get(f"library/{ACCOUNT}/{export}.mp4") == f"segment of {export}".encode()
    assert await exporter(Late(store), BLIND).deliver(fast) is None
    assert store.get(f"library/{ACCOUNT}/{export}.mp4") == f"frame of {export}".encode()
    StoreShelf(store).remove(ACCOUNT, f"{export}.mp4")
    assert await exporter(StoreShelf(store)).deliver(fast) is None
    assert store.info(f"library/{ACCOUNT}/{export}.mp4") is None, "what was deleted does not come again"
    stored = await records.get(f"{ACCOUNT}.{export}")
    assert stored is not None
    assert (stored.value.state, stored.value.accuracy) == ("delivered", "frame")
    await service.broker.stop()


async def test_a_dropped_copy_that_ends_last_does_not_win(
    nats: NatsServer, endpoint: str, store: MediaStore, tmp_path: Path
) -> None:
    """Nobody can stop the copy of the fast file; it is made when its delivery has looked, or has been given up."""
    export, service = new_id(), make_service("exporter", settings(endpoint, tmp_path, "one", nats.url))
    await service.broker.connect()
    begun, looked, made = threading.Event(), threading.Event(), threading.Event()
    fast, exact = order(store, export, "segment"), order(store, export, "frame", b"longer than the fast one" * 9)

    class Slow(StoreShelf):
        def put(self, store: MediaStore, key: str, account: str, name: str) -> str:
            begun.set()
            looked.wait(1)
            try:
                return super().put(store, key, account, name)
            finally:
                made.set()

        def holds(self, account: str, name: str, size: int) -> bool:
            found = super().holds(account, name, size)
            looked.set()
            made.wait(30)
            return found

    def exporter(shelf: StoreShelf) -> Deliverer:
        workshop = Workshop(
            {"library": LibraryMaker(shelf)}, Bucket(service.js, "credentials", CredentialRecord), service.vault
        )
        records = Exports(Bucket(service.js, "exports", ExportRecord), SystemClock())
        return Deliverer(store, records, workshop, service.outbox, SystemClock(), pace=FAST)

    slow = asyncio.create_task(exporter(Slow(store)).deliver(fast))
    assert await asyncio.to_thread(begun.wait, 30)
    assert await exporter(StoreShelf(store)).deliver(exact)
    assert await slow is None
    assert store.get(f"library/{ACCOUNT}/{export}.mp4") == store.get(exact.source_key)
    await service.broker.stop()


async def test_a_clip_that_is_gone_and_a_file_deleted_twice(
    nats: NatsServer, endpoint: str, store: MediaStore, tmp_path: Path
) -> None:
    here = settings(endpoint, tmp_path, "exporter", nats.url)
    async with connected(nats.url) as js, served("exporter", build, here):
        wanted = order(store, new_id(), "frame")
        store.delete(wanted.source_key)
        sequence = await send(js, wanted)
        await until(lambda: idle(js, "exporter-deliver", sequence))
        stored = await Bucket(lambda: js, "exports", ExportRecord).get(f"{ACCOUNT}.{wanted.export}")
        assert stored is not None
        assert stored.value.state == "failed"
        store.put(f"library/{ACCOUNT}/a.mp4", b"x")
        sequence = await send(js, LibraryDelete(account=ACCOUNT, file=new_id(), file_name="a.mp4", at_ms=1), times=2)
        await until(lambda: idle(js, "exporter-delete", sequence))
        assert list(store.list("library")) == []


def test_old_files_go(store: MediaStore) -> None:
    for name in ("old.mp4", "new.mp4"):
        store.put(f"library/{ACCOUNT}/{name}", b"x")
    shelf = StoreShelf(store)
    assert shelf.expire(0) == 0
    assert shelf.expire(int(time.time() * 1000) - 60_000) == 0
    assert shelf.expire(int(time.time() * 1000) + 60_000) == 2
    assert list(store.list("library")) == []


@pytest.mark.parametrize(("when", "data"), [("list", b"as before"), ("info", b"other")])
def test_a_file_that_is_delivered_while_old_ones_go_stays(
    store: MediaStore, monkeypatch: pytest.MonkeyPatch, when: str, data: bytes
) -> None:
    """Another exporter delivers behind the list's back, the same bytes even; or behind the look's at the one file."""
    key, ask = f"library/{ACCOUNT}/goal.mp4", getattr(store, when)
    store.put(key, b"as before")
    old = store.info(key)
    assert old is not None
    before_ms = (old.modified_ms // 1000 + 1) * 1000
    wait_until(lambda: time.time() * 1000 > before_ms + 1000)  # S3 tells seconds

    def overtaken(key_or_folder: str) -> Any:
        found = ask(key_or_folder)
        found = list(found) if when == "list" else found
        store.put(key, data)
        return found

    monkeypatch.setattr(store, when, overtaken)
    assert StoreShelf(store).expire(before_ms) == 0
    assert store.get(key) == data
    monkeypatch.undo()
    assert StoreShelf(store).expire(int(time.time() * 1000) + 60_000) == 1


def test_the_file_that_was_to_be_deleted_is_and_not_one_delivered_since(store: MediaStore) -> None:
    """The wish comes late, or twice; the same clip has been delivered again, or a more exact one."""
    key, shelf = f"library/{ACCOUNT}/goal.mp4", StoreShelf(store)
    store.put(key, b"clip")
    wished = StoreLibrary(store).look(ACCOUNT, "goal.mp4")
    assert wished is not None
    seen = Seen(wished.version, wished.modified_ms)
    for data in (b"clip", b"exacter"):
        wait_until(lambda: time.time() * 1000 > wished.modified_ms + 1000)  # S3 tells seconds
        store.put(key, data)
        shelf.remove(ACCOUNT, "goal.mp4", seen)
        assert store.get(key) == data
    shelf.remove(ACCOUNT, "goal.mp4")
    assert store.info(key) is None


def test_the_restreamer_reads_it_and_never_two_files_as_one(store: MediaStore, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    encode(FILM, film)
    key = f"library/{ACCOUNT}/film.mp4"
    store.put(key, film.read_bytes())
    store.put("library/other/film.mp4", film.read_bytes())
    access = access_to(tmp_path, store=store)
    media = opened("library", "film.mp4", access)
    try:
        assert numbers(media.video, media.packets(0)) == list(range(180))
    finally:
        media.close()
    for name in ("../other/film.mp4", "no.mp4", ".hidden", "", "a\0b"):
        with pytest.raises(SourceError, match="no such file"):
            opened("library", name, access)
    small = access_to(tmp_path, store=store, limits=SMALL)
    media = opened("library", "film.mp4", small)
    store.put(key, film.read_bytes()[::-1])
    with pytest.raises(Gone):
        list(media.packets(0))
    media.close()
