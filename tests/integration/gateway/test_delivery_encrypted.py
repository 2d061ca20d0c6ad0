"""Encrypted recordings are delivered clear: HLS, ranges, and archive files; without the key nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from services.gateway.delivery.joined import file_of
from shared.errors import Permanent
from shared.media.mp4.init import parse_init
from shared.recording.clear_store import ClearStore
from shared.security.content_keys import ContentKeys, KeyUnknown
from shared.security.secrets import Vault
from tests.support.framecode_record import Spec
from tests.support.hls_check import read_media
from tests.support.hls_media import play
from tests.support.hls_server import HlsServer, hls_server
from tests.support.media_recording import Recorded
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, new_event, publish
from tests.support.sealed import folder_of_event, payloads_of, play_sealed, record_twice, stored

SECONDS = 5
LIST = "primary-1-dvr.m3u8"


@dataclass
class Scene:
    server: HlsServer
    event: str
    clear: Recorded
    sealed: Recorded

    @property
    def folder(self) -> str:
        return folder_of_event(self.event)


@pytest.fixture
async def scene(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Scene]:
    event = new_event()
    async with hls_server(nats.url, tmp_path) as server:
        key = ContentKeys(server.delivery.vault).fresh(folder_of_event(event))
        clear, sealed = record_twice(Spec(seconds=Fraction(SECONDS)), tmp_path, key=key)
        await publish(server.js, stored(sealed, server.store, event, ACCOUNT))
        await server.job(event, "finished")
        yield Scene(server, event, clear, sealed)


async def test_hls_plays_clear(scene: Scene, tmp_path: Path) -> None:
    server = scene.server
    assert await asyncio.to_thread(play, server.url(scene.event)) == (SECONDS * 30, "")
    text = await server.text(server.url(scene.event, LIST))
    playlist = read_media(text)
    assert len(playlist.parts) == len(scene.sealed.segments)
    assert "EXT-X-KEY" not in text
    for info, part in zip(scene.sealed.segments, playlist.parts, strict=True):
        url = server.url(scene.event, part.uri)
        whole = await server.http.get(url)
        assert (whole.status_code, len(whole.content)) == (200, info.bytes)
        (tmp_path / info.path.name).write_bytes(whole.content)
        assert payloads_of(tmp_path / info.path.name) == payloads_of(scene.clear.segments[info.sequence].path)
        piece = await server.http.get(url, headers={"range": "bytes=900-4999"})
        assert (piece.status_code, piece.content) == (206, whole.content[900:5000])
        assert piece.headers["content-range"] == f"bytes 900-4999/{info.bytes}"
        last = await server.http.get(url, headers={"range": "bytes=-7"})
        assert last.content == whole.content[-7:]


async def test_an_archive_file_is_clear(scene: Scene, tmp_path: Path) -> None:
    index = await scene.server.delivery.index(ACCOUNT, scene.event)
    entries = await index.numbered("primary-1")
    content = await file_of(scene.server.delivery, entries, "it.mp4", "no-store", len(entries))
    made = b"".join(await asyncio.to_thread(lambda: list(content.read(0, content.size))))
    assert len(made) == content.size
    (tmp_path / "archive.mp4").write_bytes(made)
    numbers, warnings, _ = play_sealed(tmp_path / "archive.mp4", "")
    assert (numbers, warnings) == (list(range(SECONDS * 30)), "")


def test_the_view_changes_nothing_else(scene: Scene) -> None:
    store = scene.server.store
    view = ClearStore(store, ContentKeys(scene.server.delivery.vault))
    key, init = (f"{scene.folder}/{name}" for name in ("00000000.m4s", "init-0.mp4"))
    store.put("clips/main/x/frame.mp4", store.get(key))
    assert view.get("clips/main/x/frame.mp4") == store.get(key)
    assert b"".join(view.read("clips/main/x/frame.mp4", 5, 500)) == store.get(key)[5:505]
    assert view.info(key) == store.info(key)
    assert b"".join(view.read(key, 10, 10_000, chunk=999)) == view.get(key)[10:10_010]
    assert list(view.read(key, 10**9, 5)) == []
    assert parse_init(view.get(init)) == parse_init(store.get(init))
    for name in (key, init):
        with view.local(name) as path:
            assert path.read_bytes() == view.get(name) != store.get(name)
    with pytest.raises(Permanent):
        view.get(key, limit=100)
    other = ClearStore(store, ContentKeys(Vault(b"another")))
    with pytest.raises(KeyUnknown):
        other.get(key)
    with pytest.raises(KeyUnknown):
        list(other.read(key, 0, 100))


async def test_without_the_key_the_gateway_says_so(scene: Scene) -> None:
    server = scene.server
    server.delivery.store = ClearStore(server.store, ContentKeys(Vault(b"another")))
    playlist = read_media(await server.text(server.url(scene.event, LIST)))
    url = server.url(scene.event, playlist.parts[0].uri)
    answer = await server.http.get(url)
    assert answer.status_code == 409
    assert b"SECRET_KEY" in answer.content
