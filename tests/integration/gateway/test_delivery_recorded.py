"""What the recorder writes, played from its playlists by a real player."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.ingester.feed import segment_message
from shared.messages.media import SegmentWritten
from shared.messages.sessions import SessionRecord
from tests.support import media_streams
from tests.support.hls_check import read_media, read_multivariant
from tests.support.hls_media import play
from tests.support.hls_server import HlsServer, hls_server
from tests.support.media_recording import START_MS, Recorded, pieces
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, new_event, publish

SECONDS = 6
RATE = 30


@pytest.fixture
async def server(nats: NatsServer, tmp_path: Path) -> AsyncIterator[HlsServer]:
    async with hls_server(nats.url, tmp_path) as running:
        yield running


def record(server: HlsServer, event: str, source: Path, origin_ms: int, kind: str = "flv") -> list[SegmentWritten]:
    """Record a file as a session that began `origin_ms` into the event; gives what its ingester would announce."""
    session = SessionRecord(
        account=ACCOUNT, event=event, session=new_event(), protocol="rtmp", instance="x", first_frame_ms=START_MS,
        origin_ms=origin_ms,
    )  # fmt: skip
    prefix = f"live/{event}/{session.session}/{session.track}"
    recorded = Recorded(server.store.begin(f"{prefix}/init-0.mp4").parent)
    recorded.clock.pass_ms(origin_ms)
    recorded.run(kind, pieces(source.read_bytes()))
    zero = next(iter(recorded.segments[0].keyframes), 0)
    session = session.model_copy(update={"zero": zero, "lead": recorded.lead})
    late = START_MS + origin_ms - recorded.first_frame_ms[0]  # all of it came at once, when its end had been made
    return [
        segment_message(
            session,
            replace(info, wall_start_ms=info.wall_start_ms + late),
            f"{prefix}/{info.sequence:08}.m4s",
            f"{prefix}/init-{info.init_number}.mp4",
        )
        for info in recorded.segments
    ]


@pytest.mark.parametrize(("video", "audio"), [("h264-b", "aac"), ("hevc", "opus")])
async def test_a_recorded_session_plays_frame_for_frame(
    server: HlsServer, tmp_path: Path, video: str, audio: str
) -> None:
    event = new_event()
    source = media_streams.encode(tmp_path / "source.flv", video=video, audio=audio, seconds=SECONDS, gop=RATE)
    segments = record(server, event, source, 0)
    await publish(server.js, segments)
    await server.job(event, "finished")
    ((variant, uri),) = read_multivariant(await server.text(server.url(event)))
    assert variant["CODECS"].startswith("avc1.64" if video == "h264-b" else "hvc1.")
    playlist = read_media(await server.text(server.url(event, uri)))
    assert playlist.independent
    assert abs(sum(part.micros for part in playlist.parts) - SECONDS * 1_000_000) < 100_000
    assert await asyncio.to_thread(play, server.url(event)) == (SECONDS * RATE, "")


async def test_a_reconnected_event_plays_over_its_gap(server: HlsServer, tmp_path: Path) -> None:
    event = new_event()
    source = media_streams.encode(tmp_path / "source.flv", video="h264", audio="aac", seconds=SECONDS, gop=RATE)
    await publish(server.js, record(server, event, source, 0))
    await publish(server.js, record(server, event, source, 60_000))
    await server.job(event, "finished")
    playlist = read_media(await server.text(server.url(event, "primary-1-dvr.m3u8")))
    assert [part.seam for part in playlist.parts].count(True) == 1
    seam = next(n for n, part in enumerate(playlist.parts) if part.seam)
    assert 0 <= START_MS + 60_000 - playlist.dates_ms[seam] < 25, "the sound before the first picture"
    frames, _ = await asyncio.to_thread(play, server.url(event))
    # ffmpeg's demuxer discards the first part after a seam at which decode times begin anew.
    assert 2 * SECONDS * RATE - RATE // 2 - 1 <= frames <= 2 * SECONDS * RATE
