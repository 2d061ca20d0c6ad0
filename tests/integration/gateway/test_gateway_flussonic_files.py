"""The archive URLs that are files and transport streams: what ffmpeg finds in them, ranges, growth, gaps."""

import asyncio
import contextlib
from pathlib import Path

import av
import httpx
import pytest

from services.gateway.delivery import Delivery, mpegts
from services.gateway.delivery.rebase import SEAM, Layout
from tests.support.api_gateway import Gateway, until
from tests.support.flussonic_stream import Recorded, recorded
from tests.support.hls_media import play
from tests.support.hls_server import SetClock

RATE = 25


async def two_parts(api: Gateway, player: httpx.AsyncClient, media: Path) -> Recorded:
    """Record 10 s, a gap of 10 s, and 10 s."""
    stream = await recorded(api, player, 100)
    await stream.add(media, 0, 10)
    await stream.add(media, 20, 10)
    return stream


def times(path: Path) -> dict[str, list[float]]:
    """Return the decode times of each kind of track, in s."""
    found: dict[str, list[float]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.dts is not None:
                found.setdefault(packet.stream.type, []).append(float(packet.dts * packet.time_base))
    return found


async def fetched(stream: Recorded, leaf: str, folder: Path) -> Path:
    answer = await stream.player.get(stream.url(leaf))
    assert answer.status_code == 200, answer.text
    path = folder / leaf
    path.write_bytes(answer.content)
    return path


async def test_a_range_downloads_as_one_file(
    api: Gateway, player: httpx.AsyncClient, media: Path, tmp_path: Path
) -> None:
    stream = await two_parts(api, player, media)
    leaf = f"archive-{stream.start_s + 5}-20.mp4"
    url = stream.url(leaf)
    head = await player.head(url)
    whole = await player.get(url)
    assert whole.headers["content-type"] == "video/mp4"
    assert int(head.headers["content-length"]) == len(whole.content)
    assert head.headers["etag"] == whole.headers["etag"]
    assert f"{stream.name.replace('/', '-')}-" in whole.headers["content-disposition"]
    for asked in ("0-99", "500-70000", "100000-", "-1000"):
        part = await player.get(url, headers={"Range": f"bytes={asked}"})
        assert part.status_code == 206
        first, _, last = asked.partition("-")
        wanted = whole.content[int(first) : int(last) + 1 if last else None] if first else whole.content[-int(last) :]
        assert part.content == wanted, asked
    assert (await player.get(url, headers={"Range": "bytes=99999999-"})).status_code == 416
    assert (await player.get(url, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304
    path = tmp_path / "file.mp4"
    path.write_bytes(whole.content)
    frames, said = await asyncio.to_thread(play, str(path))
    assert (frames, said) == (10 * RATE, "")
    found = times(path)
    for kind in ("video", "audio"):  # the gap is closed up, and nothing goes back
        assert found[kind] == sorted(set(found[kind]))
        assert found[kind][-1] < 10.3
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert abs(container.duration / av.time_base - 10) < 0.3
        container.seek(6 * av.time_base)  # by its index
        packet = next(p for p in container.demux(video=0) if p.dts is not None)
        assert 5 <= float(packet.dts * packet.time_base) <= 6.1


async def test_a_range_that_is_not_over_grows_until_it_is(
    api: Gateway, player: httpx.AsyncClient, media: Path, tmp_path: Path
) -> None:
    stream = await recorded(api, player, 15)
    await stream.add(media, 0, 10)
    url = stream.url(f"archive-{stream.start_s}-20.mp4")
    assert "content-length" not in (await player.head(url)).headers
    got = bytearray()

    async def download() -> None:
        async with player.stream("GET", url) as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_bytes():
                got.extend(piece)

    async with asyncio.timeout(60):
        loading = asyncio.create_task(download())

        async def begun() -> bool:
            return len(got) > 100_000

        await until(begun)  # at once, while it is being made
        await stream.add(media, 10, 10)
        api.clock.ahead_ms = 60_000
        await loading
    api.clock.ahead_ms = 0
    path = tmp_path / "grown.mp4"
    path.write_bytes(got)
    frames, said = await asyncio.to_thread(play, str(path))
    assert (frames, said) == (20 * RATE, "")


async def test_one_file_does_not_hold_two_sizes(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 100)
    await stream.add(media, 0, 10)
    await stream.add(media, 20, 10, size="160x90")
    answer = await player.get(stream.url(f"archive-{stream.start_s}-40.mp4"))
    assert answer.status_code == 409
    assert str(stream.start_s + 20) in answer.json()["errors"][0]["title"]
    assert (await player.get(stream.url(f"archive-{stream.start_s + 20}-20.mp4"))).status_code == 200


@pytest.mark.parametrize("codecs", [{}, {"video": "hevc"}, {"audio": "opus"}])
async def test_a_range_downloads_as_a_transport_stream(
    api: Gateway, player: httpx.AsyncClient, media: Path, tmp_path: Path, codecs: dict[str, str]
) -> None:
    stream = await recorded(api, player, 100)
    await stream.add(media, 0, 10, **codecs)
    await stream.add(media, 20, 10, **codecs)
    path = await fetched(stream, f"archive-{stream.start_s + 5}-20.ts", tmp_path)
    data = path.read_bytes()
    assert len(data) % 188 == 0
    assert set(data[::188]) == {0x47}
    frames, _ = await asyncio.to_thread(play, str(path))
    assert frames == 10 * RATE
    found = times(path)
    assert found["video"] == sorted(set(found["video"]))
    assert found["video"][-1] - found["video"][0] < 10.3
    assert len(found["audio"]) > 200


async def test_a_paced_stream_goes_at_the_speed_of_the_clock(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await two_parts(api, player, media)
    clock, waited = SetClock(), list[float]()
    clock.jump_ns = 0

    async def sleep(delay: float) -> None:
        waited.append(delay)
        clock._now_ns += int(delay * 1e9)

    pace, layout = mpegts.Pace(clock, sleep), Layout()
    index = await api.web.state.parts[Delivery].index("main", stream.job)
    for entry in await index.between("primary-1", 0, 10**15):
        await pace(layout.lay(entry))
    assert len(waited) == 13  # the first six seconds and the next segment at once, then one a second, also over the gap
    assert abs(sum(waited) - (19 + float(SEAM) - 6)) < 0.2
    assert max(waited) < 1.3


async def test_late_transport_streams_begin_at_their_moment(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await two_parts(api, player, media)
    for leaf in (f"timeshift_abs-{stream.start_s + 22}.ts", "timeshift_rel-78.ts", f"{stream.start_s + 22}.ts"):
        size = 0
        async with player.stream("GET", stream.url(leaf)) as answer:
            assert answer.headers["content-type"] == "video/mp2t"
            async for piece in answer.aiter_bytes():
                size += len(piece)
                if size > 100_000:
                    break
        assert size > 100_000, leaf
    assert (await player.get(stream.url(f"timeshift_abs-{stream.start_s + 1000}.ts"))).status_code == 400


async def test_live_as_a_transport_stream_goes_on_with_what_comes(
    api: Gateway, player: httpx.AsyncClient, media: Path, tmp_path: Path
) -> None:
    stream = await recorded(api, player, 30)
    await stream.add(media, 0, 10)
    got = bytearray()
    async with asyncio.timeout(60), player.stream("GET", stream.url("mpegts")) as answer:
        assert answer.status_code == 200
        more = answer.aiter_bytes()
        while len(got) < 50_000:
            got += await anext(more)
        await stream.add(media, 10, 10)
        await api.http.post(f"/streamer/api/v3/streams/{stream.name}/stop")
        async for piece in more:
            got += piece
    path = tmp_path / "live.ts"
    path.write_bytes(got)
    frames, _ = await asyncio.to_thread(play, str(path))
    assert frames == 16 * RATE  # from six seconds before the edge on


async def test_open_transport_streams_are_bounded_and_end_with_their_player(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await recorded(api, player, 30)
    await stream.add(media, 0, 10)
    url = stream.url("mpegts")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(mpegts.MOST_OF_ACCOUNT):
            assert (await stack.enter_async_context(player.stream("GET", url))).status_code == 200
        refused = await player.get(url)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, "too_many_requests")
        assert refused.headers["retry-after"]

    async def free() -> bool:
        async with player.stream("GET", url) as answer:
            return answer.status_code == 200

    await until(free)


async def test_what_is_not_recorded_is_not_there(api: Gateway, player: httpx.AsyncClient) -> None:
    stream = await recorded(api, player, 100)
    for leaf in ("archive-5-10.mp4", "archive-5-10.ts", "mpegts", "timeshift_rel-50.ts"):
        answer = await player.get(stream.url(leaf))
        assert answer.status_code == 404, leaf
        assert answer.json()["errors"][0]["code"] == "not_found"
    for leaf in ("archive-5-172801.mp4", "archive-5-0.ts", "archive-5-now.mp4"):
        assert (await player.get(stream.url(leaf))).status_code == 400, leaf


async def test_av1_is_a_file_and_no_transport_stream(
    api: Gateway, player: httpx.AsyncClient, media: Path, tmp_path: Path
) -> None:
    stream = await recorded(api, player, 100)
    await stream.add(media, 0, 4, video="av1")
    path = await fetched(stream, f"archive-{stream.start_s}-4.mp4", tmp_path)
    assert await asyncio.to_thread(play, str(path)) == (4 * RATE, "")
    for leaf in (f"archive-{stream.start_s}-4.ts", f"timeshift_abs-{stream.start_s + 1}.ts"):
        answer = await player.get(stream.url(leaf))
        assert (answer.status_code, "AV1" in answer.text) == (404, True), leaf
