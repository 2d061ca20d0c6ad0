"""What playlists show as a recording grows, is compacted, healed and deleted, and as players reload them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from nats.errors import Error as NatsError

from shared.recording.hours import HOUR_MS
from tests.support.archive import Archive, archive
from tests.support.hls_check import Playlist, check_reload, read_media, read_multivariant
from tests.support.hls_server import HlsServer, hls_server
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish

MINUTE = 60 * 90_000
START_S = HOUR_START_MS // 1000


@pytest.fixture
async def server(nats: NatsServer, tmp_path: Path) -> AsyncIterator[HlsServer]:
    async with hls_server(nats.url, tmp_path) as running:
        yield running


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path, timedelta(hours=2)) as running:
        yield running


async def get(server: HlsServer, event: str, name: str) -> Playlist:
    return read_media(await server.text(server.url(event, name)))


async def test_live_and_dvr_go_on_over_compaction_reconnects_and_late_segments(
    server: HlsServer, archiver: Archive
) -> None:
    event = new_event()
    await server.job(event)
    archiver.clock.at_ms = HOUR_START_MS + 3 * HOUR_MS
    first = Session(event, duration=MINUTE)
    second = Session(event, duration=MINUTE, origin_ms=50 * 60_000)
    batches = [
        first.segments(12), first.segments(20, first=12), [*first.segments(8, first=32), *second.segments(1)],
        [first.segment(40, recovered=True), *second.segments(30, first=1)], second.segments(40, first=31),
    ]  # fmt: skip
    before: dict[str, Playlist] = {}
    count = 0
    for turn, batch in enumerate(batches):
        await publish(archiver.js, batch)
        count += len([segment for segment in batch if not segment.recovered])
        for compacted in (False, True):
            if compacted:
                await archiver.compactor.compact(ACCOUNT, event, everything=turn % 2 == 1)
                await archiver.retention.tidy(ACCOUNT, event)
            for name in ("primary-1-live.m3u8", "primary-1-dvr.m3u8", f"primary-1-range.m3u8?start={START_S + 600}"):
                playlist = await get(server, event, name)
                assert playlist.parts[-1].number == count - 1
                if name in before:
                    check_reload(before[name], playlist)
                before[name] = playlist
    assert [part.number for part in before["primary-1-dvr.m3u8"].parts] == list(range(count))
    assert before["primary-1-dvr.m3u8"].kind == "EVENT"
    assert len(before["primary-1-live.m3u8"].parts) == 4
    # Once the job is over the whole recording is played, with what was salvaged late.
    await server.job(event, "finished")
    whole = await get(server, event, "primary-1-dvr.m3u8")
    assert whole.ended
    assert len(whole.parts) == count + 1
    assert whole.parts[40].uri.endswith(f"{first.session}/primary-1/00000040.m4s")
    ((_, uri),) = read_multivariant(await server.text(server.url(event)))
    assert uri == "primary-1-dvr.m3u8"


async def test_a_range_is_a_whole_playlist_of_what_was_recorded_in_it(server: HlsServer) -> None:
    event = new_event()
    await server.job(event)
    before, after = Session(event), Session(event, origin_ms=60_000)
    await publish(server.js, [*before.segments(10), *after.segments(10)])
    ((_, uri),) = read_multivariant(
        await server.text(server.url(event, f"index.m3u8?start={START_S + 15}&end={START_S + 64.5}"))
    )
    playlist = await get(server, event, uri)
    assert playlist.ended
    assert playlist.kind == "VOD"
    names = [part.uri.rsplit("/", 1)[1] for part in playlist.parts]
    assert names == ["00000007.m4s", "00000008.m4s", "00000009.m4s", "00000000.m4s", "00000001.m4s", "00000002.m4s"]
    assert [part.seam for part in playlist.parts] == [False, False, False, True, False, False]
    assert playlist.dates_ms == [HOUR_START_MS + ms for ms in (14_000, 16_000, 18_000, 60_000, 62_000, 64_000)]


async def test_a_range_whose_end_is_still_to_come_grows_until_then(server: HlsServer) -> None:
    event = new_event()
    await server.job(event)
    session = Session(event)
    server.clock.at_ms = HOUR_START_MS + 10_000
    name = f"primary-1-range.m3u8?start={START_S + 4}&end={START_S + 30}"
    await publish(server.js, session.segments(5))
    first = await get(server, event, name)
    assert not first.ended
    assert [part.number for part in first.parts] == [2, 3, 4]
    server.clock.at_ms = HOUR_START_MS + 60_000
    await publish(server.js, session.segments(20, first=5))
    second = await get(server, event, name)
    assert second.ended
    assert [part.number for part in second.parts] == list(range(2, 15))
    assert second.number == first.number


async def test_timeshift_begins_where_it_is_asked_to(server: HlsServer) -> None:
    event = new_event()
    await server.job(event)
    await publish(server.js, Session(event).segments(30))
    server.clock.at_ms = HOUR_START_MS + 60_000
    ((_, uri),) = read_multivariant(await server.text(server.url(event, f"index.m3u8?start={START_S + 20}")))
    playlist = await get(server, event, uri)
    assert playlist.from_start
    assert not playlist.ended
    assert [part.number for part in playlist.parts] == list(range(10, 30))


async def test_a_sliding_dvr_window_slides(server: HlsServer) -> None:
    event = new_event()
    await server.job(event, dvr_s=60)
    session = Session(event)
    await publish(server.js, session.segments(40))
    before = await get(server, event, "primary-1-dvr.m3u8")
    assert [part.number for part in before.parts] == list(range(10, 40))
    assert not before.kind
    await publish(server.js, session.segments(5, first=40))
    after = await get(server, event, "primary-1-dvr.m3u8")
    check_reload(before, after)
    assert after.number == 15


async def test_what_expires_leaves_at_the_front_and_numbers_stay(server: HlsServer, archiver: Archive) -> None:
    event = new_event()
    await server.job(event)
    session = Session(event, duration=MINUTE)
    await publish(archiver.js, session.segments(150))
    archiver.clock.at_ms = HOUR_START_MS + 151 * 60_000
    await archiver.compactor.compact(ACCOUNT, event)
    assert (await get(server, event, "primary-1-dvr.m3u8")).number == 0
    archiver.clock.at_ms = HOUR_START_MS + 3 * HOUR_MS
    await archiver.retention.expire(ACCOUNT, event)
    left = await get(server, event, "primary-1-dvr.m3u8")
    assert [part.number for part in left.parts] == list(range(60, 150))
    assert not left.kind  # an EVENT playlist may lose nothing


async def test_a_longer_segment_raises_the_target_duration_for_good(server: HlsServer) -> None:
    event = new_event()
    await server.job(event)
    session = Session(event)
    log = [session.segment(n) for n in range(3)]
    log.append(session.segment(3, duration=7 * 90_000))
    log += [session.segment(n, start=540_000 + 630_000 + (n - 4) * 180_000) for n in range(4, 60)]
    await publish(server.js, log[:3])
    assert (await get(server, event, "primary-1-live.m3u8")).target_s == 2
    await publish(server.js, log[3:])
    live = await get(server, event, "primary-1-live.m3u8")
    assert live.target_s == 7
    assert live.number > 3


async def test_players_are_served_while_the_broker_is_away(tmp_path: Path) -> None:
    from tests.support.nats import nats_server  # noqa: PLC0415  a server of this test's own
    from tests.support.recordings import until  # noqa: PLC0415

    event = new_event()
    with nats_server(tmp_path / "nats") as broker:
        async with hls_server(broker.url, tmp_path) as server:
            await server.job(event)
            session = Session(event)
            await publish(server.js, session.segments(3))
            before = await get(server, event, "primary-1-live.m3u8")
            broker.kill()
            assert await get(server, event, "primary-1-live.m3u8") == before
            broker.start()

            async def goes_on() -> bool:
                with contextlib.suppress(NatsError, TimeoutError):  # not connected yet
                    await publish(server.js, session.segments(1, first=3))
                return len((await get(server, event, "primary-1-live.m3u8")).parts) == 4

            await until(goes_on)
