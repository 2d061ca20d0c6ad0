"""Recordings played over HTTP by a real player, from segments that lie in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.captions import unit
from tests.support.hls_check import check_reload, read_media, read_multivariant
from tests.support.hls_media import play, record
from tests.support.hls_server import HlsServer, hls_server
from tests.support.nats import NatsServer
from tests.support.recordings import HOUR_START_MS, Session, new_event, publish


@pytest.fixture
async def server(nats: NatsServer, tmp_path: Path) -> AsyncIterator[HlsServer]:
    async with hls_server(nats.url, tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoded")


async def test_a_finished_recording_plays_whole_without_a_warning(server: HlsServer, media: Path) -> None:
    event = new_event()
    first = Session(event)
    await publish(server.js, record(server.store, first, media, 4))
    again = Session(event, origin_ms=9_000)
    await publish(server.js, record(server.store, again, media, 4))
    await server.job(event, "finished")
    playlist = read_media(await server.text(server.url(event, "primary-1-dvr.m3u8")))
    assert [part.seam for part in playlist.parts] == [False] * 4 + [True] + [False] * 3
    assert playlist.ended
    for start in (HOUR_START_MS, HOUR_START_MS + 9_000):
        alone = server.url(event, f"index.m3u8?start={start // 1000}&end={start // 1000 + 4}")
        assert await asyncio.to_thread(play, alone) == (4 * 25, "")
    # Over a discontinuity whose decode times begin anew, ffmpeg's demuxer discards the first fragment.
    frames, _ = await asyncio.to_thread(play, server.url(event))
    assert frames in {7 * 25, 8 * 25}


async def test_the_live_edge_moves_on_as_the_rfc_allows(server: HlsServer, media: Path) -> None:
    event = new_event()
    await server.job(event)
    session = Session(event)
    segments = record(server.store, session, media, 4)
    follow = [session.segment(n, duration=session.timescale) for n in range(4, 60)]
    before = None
    for count, batch in ((2, segments[:2]), (4, segments[2:]), (34, follow[:30]), (60, follow[30:])):
        await publish(server.js, batch)
        playlist = read_media(await server.text(server.url(event, "primary-1-live.m3u8")))
        assert playlist.parts[-1].number == count - 1
        assert not playlist.ended
        if before is not None:
            check_reload(before, playlist)
        before = playlist
    assert before is not None
    assert len(before.parts) == 30
    assert before.number == 30
    await server.job(event, "finished")
    ended = read_media(await server.text(server.url(event, "primary-1-live.m3u8")))
    check_reload(before, ended)
    assert ended.ended


@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [
        ("h264", "aac", "avc1.42c00c,mp4a.40.2"),
        ("hevc", "opus", "hvc1.1.6.L60.90,opus"),
        ("av1", "aac", "av01.0.00M.08,mp4a.40.2"),
        ("vp9", "opus", "vp09.00.11.08,opus"),
    ],
)
async def test_the_multivariant_playlist_tells_what_a_player_must_know(
    server: HlsServer, media: Path, video: str, audio: str, codecs: str
) -> None:
    event = new_event()
    await server.job(event)
    segments = record(server.store, Session(event), media, 2, video=video, audio=audio)
    await publish(server.js, segments)
    ((variant, uri),) = read_multivariant(await server.text(server.url(event)))
    assert variant["CODECS"] == codecs
    assert variant["RESOLUTION"] == "320x180"
    assert int(variant["BANDWIDTH"]) == max(segment.bytes for segment in segments) * 8
    assert uri == "primary-1-live.m3u8"
    frames, warnings = await asyncio.to_thread(
        play, server.url(event, f"index.m3u8?start={HOUR_START_MS // 1000}&end={HOUR_START_MS // 1000 + 60}")
    )
    assert (frames, warnings) == (50, "")


async def test_captions_in_the_pictures_are_announced(server: HlsServer, media: Path) -> None:
    for has in (False, True):
        event = new_event()
        await server.job(event)
        segments = record(server.store, Session(event), media, 2)
        if has:
            data = await asyncio.to_thread(server.store.get, segments[-1].key)
            await asyncio.to_thread(server.store.put, segments[-1].key, unit("h264", 7, shared=False) + data)
        await publish(server.js, segments)
        text = await server.text(server.url(event))
        ((variant, _),) = read_multivariant(text)
        assert ("CLOSED-CAPTIONS" in variant, "EXT-X-MEDIA" in text) == (has, has)


async def test_av1_and_vp9_play(server: HlsServer, media: Path) -> None:
    for video in ("av1", "vp9"):
        event = new_event()
        await publish(server.js, record(server.store, Session(event), media, 3, video=video))
        await server.job(event, "finished")
        assert await asyncio.to_thread(play, server.url(event)) == (3 * 25, "")
