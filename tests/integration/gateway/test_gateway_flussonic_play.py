"""The archive URLs that are playlists: ranges, late and live ones, what is carried through, and whose they are not."""

import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import APIRoute
from starlette.routing import Match

from services.gateway.facades.dialects import DialectRoutes
from services.gateway.facades.flussonic.mount import MountedRoute
from services.gateway.facades.flussonic.names import HEADS
from tests.support.api_gateway import Gateway, until
from tests.support.flussonic_stream import Recorded, recorded
from tests.support.hls_media import play

EPOCH = 1_800_000_000


def uris(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def number(text: str) -> int:
    found = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text)
    assert found
    return int(found[1])


def dates(text: str) -> list[str]:
    return re.findall(r"#EXT-X-PROGRAM-DATE-TIME:(.*)", text)


async def media_of(stream: Recorded, leaf: str, **query: int) -> str:
    """Return the media playlist that a multivariant one leads to."""
    (uri,) = uris(await stream.text(leaf, **query))
    answer = await stream.player.get(stream.url("x").rpartition("/")[0] + "/" + uri)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_ranges_play_to_their_end_in_every_spelling(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 100)
    await stream.add(media, 0, 10)
    await stream.add(media, 20, 10)
    for kind in ("archive", "index", "video"):
        leaf = f"{kind}-{stream.start_s + 5}-20.m3u8"
        text = await media_of(stream, leaf)
        assert len(uris(text)) == 10
        assert text.endswith("#EXT-X-ENDLIST\n")
        assert text.count("#EXT-X-DISCONTINUITY\n") == 1
        assert all(f"?token={stream.token}" in uri for uri in uris(text))
        assert f'.mp4?token={stream.token}"' in text
    mono = await stream.text(f"mono-{stream.start_s + 5}-20.m3u8")
    assert mono == text
    frames, said = await asyncio.to_thread(play, stream.url(f"archive-{stream.start_s}-10.m3u8"))
    assert frames == 10 * 25
    assert "error" not in said.lower()


async def test_a_range_until_now_grows(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 60)
    await stream.add(media, 0, 10)
    leaf = f"archive-{stream.start_s + 2}-now.m3u8"
    before = await media_of(stream, leaf)
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in before
    assert "ENDLIST" not in before
    await stream.add(media, 10, 10)

    async def grown() -> list[str] | None:
        after = uris(await media_of(stream, leaf))
        return after if len(after) > 8 else None

    after = await until(grown)
    assert after[:8] == uris(before)
    assert len(after) == 18


async def test_a_late_playlist_slides_without_a_jump(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 100)
    for at_s in range(0, 100, 10):
        await stream.add(media, at_s, 10)
    first = await media_of(stream, "timeshift_rel-50.m3u8")
    assert len(uris(first)) == 30
    edge_s = number(first) + 30
    assert abs(edge_s - 50) <= 3
    assert "ENDLIST" not in first
    (leaf,) = uris(await stream.text("timeshift_rel-50.m3u8"))
    url = stream.url("x").rpartition("/")[0] + "/" + leaf
    seen = {number(first) + at: uri for at, uri in enumerate(uris(first))}
    for step_s in (1, 2, 7, 30):
        api.clock.ahead_ms = step_s * 1000
        text = (await player.get(url)).text
        assert step_s - 2 <= number(text) - number(first) <= step_s + 2
        for at, uri in enumerate(uris(text)):  # a segment keeps its number
            assert seen.setdefault(number(text) + at, uri) == uri
    api.clock.ahead_ms = 0
    mono = await stream.text("mono-timeshift_rel-50.m3u8")
    assert abs(number(mono) - number(first)) <= 3
    await api.http.post(f"/streamer/api/v3/streams/{stream.name}/stop")
    api.clock.ahead_ms = 200_000

    async def ended() -> bool:
        return (await stream.text("mono-timeshift_rel-50.m3u8")).endswith("#EXT-X-ENDLIST\n")

    await until(ended)
    api.clock.ahead_ms = 0


async def test_a_moment_of_the_past_plays_as_if_live(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 100)
    for at_s in range(0, 100, 10):
        await stream.add(media, at_s, 10)
    for leaf, query in (
        (f"timeshift_abs-{stream.start_s + 40}.m3u8", {}),
        (f"mono-timeshift_abs-{stream.start_s + 40}.m3u8", {}),
        ("index.m3u8", {"utc": stream.start_s + 40, "lutc": stream.start_s + 100}),
        ("video.m3u8", {"utc": stream.start_s + 40}),
        ("mono.m3u8", {"utc": stream.start_s + 40}),
    ):
        text = await media_of(stream, leaf, **query)
        assert abs(number(text) + len(uris(text)) - 50) <= 3, leaf  # 10 s after the moment are there at once
        assert "utc" not in text
    await stream.text(f"timeshift_abs-{stream.start_s + 1000}.m3u8", 400)


async def test_live_and_rewind(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 80)
    for at_s in range(0, 80, 10):
        await stream.add(media, at_s, 10)
    for leaf, length in (("index.m3u8", 30), ("video.m3u8", 30), ("rewind-60.m3u8", 60), ("rewind-3600.m3u8", 80)):
        text = await media_of(stream, leaf)
        assert (len(uris(text)), number(text)) == (length, 80 - length), leaf
    assert len(uris(await stream.text("mono.m3u8"))) == 30


async def test_a_query_is_carried_to_every_address_below(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 60)
    await stream.add(media, 0, 10)
    (uri,) = uris(await stream.text("index.m3u8", user="a&b"))
    assert re.fullmatch(rf"primary-1-live\.m3u8\?token={stream.token}&user=a&b=", uri)
    base = stream.url("x").rpartition("/")[0] + "/"
    text = (await player.get(base + uri)).text
    segment = await player.get(base + uris(text)[0])
    assert segment.status_code == 200
    assert segment.headers["access-control-allow-origin"] == "*"
    assert "immutable" in segment.headers["cache-control"]
    keyed = await api.http.get(f"/{stream.name}/index.m3u8")  # with a key, there is nothing to carry
    assert uris(keyed.text) == ["primary-1-live.m3u8"]
    assert (await api.http.get(f"/{stream.name}/{uris(text)[0].split('?')[0]}")).status_code == 200


async def test_who_may_watch(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await recorded(api, player, 60)
    await stream.add(media, 0, 10)
    bare = stream.url("index.m3u8").partition("?")[0]
    other = await recorded(api, player, 60)
    for url, status in (
        (bare, 401), (f"{bare}?token=x", 403), (f"{bare}?token={other.token}", 403), (stream.url("index.m3u8"), 200),
        (f"{bare.replace(stream.name, 'none')}?token={stream.token}", 403),
    ):  # fmt: skip
        answer = await player.get(url)
        assert answer.status_code == status, url
        if status > 200:
            assert answer.json()["errors"][0]["status"] == str(status)
    api.clock.ahead_ms = 3_700_000
    assert (await player.get(stream.url("index.m3u8"))).status_code == 403
    api.clock.ahead_ms = 0


async def test_a_token_of_last_week_s_match_does_not_open_today_s(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await recorded(api, player, 100)
    old = await stream.add(media, 0, 5)
    given = (await api.http.post(f"/v1/jobs/{stream.job}/playback", json={})).json()
    tokens = [next(part for part in text.split("/") if part.count(".") == 2) for text in _texts(given, "/play/")]
    assert tokens
    assert (await api.http.post(f"/streamer/api/v3/streams/{stream.name}/stop")).status_code == 204
    stream.job = (await api.http.put(f"/streamer/api/v3/streams/{stream.name}", json={})).json()["reelay"]["job"]
    stream.start_s += 50
    new = await stream.add(media, 0, 5)
    listed = (await api.http.get("/flussonic/streams.m3u")).text
    (line,) = [line for line in listed.splitlines() if f"/{stream.name}/" in line]
    of_name = line.partition("?token=")[2]
    for token, seen, hidden, status in ((tokens[0], old, new, 404), (of_name, new, old, 200)):
        stream.token = token
        text = await media_of(stream, "index.m3u8")
        assert seen.session in text
        assert hidden.session not in text
        leaves = [uri.partition("?")[0] for uri in uris(text)]
        assert (await player.get(stream.url(leaves[0]))).status_code == 200
        other = await player.get(stream.url(leaves[0].replace(seen.session, hidden.session)))
        assert other.status_code == status


def _texts(value: Any, word: str) -> list[str]:
    """List the texts in an answer that contain a word."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] * (isinstance(value, str) and word in value) + [text for one in inner for text in _texts(one, word)]


NOT_THERE = {
    f"archive-{EPOCH}-0.m3u8": 400, f"archive-{EPOCH}-172801.m3u8": 400, "archive-5-now.m3u8": 400,
    "rewind-0.m3u8": 400, "rewind-999999.m3u8": 400, "timeshift_rel-99999999.m3u8": 400,
    f"archive-{EPOCH}-10.m3u8": 404, "archive-x-10.m3u8": 404, "archive-1-2-3.m3u8": 404,
    "nothing.m3u8": 404, "primary-9-live.m3u8": 404, "primary-1-range.m3u8": 400,
    "primary-1-range.m3u8?start=1&end=999999": 400, "..%2Findex.m3u8": 404,
}  # fmt: skip


async def test_what_is_not_there(api: Gateway, player: httpx.AsyncClient) -> None:
    stream = await recorded(api, player, 10)
    for leaf, status in NOT_THERE.items():
        answer = await api.http.get(f"/{stream.name}/{leaf}")
        assert answer.status_code == status, (leaf, answer.text)


def flat(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """List the routes of an application and of the routers that it includes."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif isinstance(route, DialectRoutes):
            for facade in route._facades.values():
                yield from flat(facade.routes.routes)
        else:
            yield from flat(route.original_router.routes)


async def test_names_take_no_address_from_anybody(api: Gateway) -> None:
    """No address of another route is one of a stream, and the gateway's first parts are no names."""
    routes = list(flat(api.web.routes))
    mounts = [route for route in routes if isinstance(route, MountedRoute)]
    assert mounts
    heads = set()
    for route in routes:
        if isinstance(route, MountedRoute):
            continue
        heads.add(route.path.split("/")[1])
        filled = re.sub(r"\{[^}]*\}", "0" * 32, route.path)
        for tail in ("", "/index.m3u8", "/mono.m3u8", f"/archive-{EPOCH}-10.m3u8", "/recording_status.json"):
            scope = {"type": "http", "method": "GET", "path": filled + tail, "headers": [], "root_path": ""}
            assert all(mount.matches(scope)[0] is Match.NONE for mount in mounts), filled + tail
    assert heads <= HEADS
    last = [isinstance(route, MountedRoute) for route in routes]
    assert last == sorted(last), "they are matched last"
    for path in ("/v1/jobs/x/index.m3u8", "/play/x/y/z/index.m3u8", "/api/index.m3u8", "/index.m3u8", "/nothing/here"):
        answer = await api.http.get(path)
        assert answer.status_code in {403, 404}, path
        assert answer.headers["content-type"] == "application/problem+json", path
