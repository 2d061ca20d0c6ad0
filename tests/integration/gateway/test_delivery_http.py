"""Who may watch, and what HTTP promises about segments and playlists."""

from __future__ import annotations

import gzip
import io
from collections.abc import AsyncIterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from services.gateway.delivery.tokens import make_token
from shared.security.secrets import Vault
from tests.support.archive import put_media
from tests.support.hls_check import read_media
from tests.support.hls_server import HlsServer, hls_server
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, Session, new_event, publish


@pytest.fixture
async def server(nats: NatsServer, tmp_path: Path) -> AsyncIterator[HlsServer]:
    async with hls_server(nats.url, tmp_path) as running:
        yield running


async def recorded(server: HlsServer, count: int = 4) -> tuple[str, Session]:
    event = new_event()
    session = Session(event)
    segments = session.segments(count)
    put_media(server.store, segments)
    await publish(server.js, segments)
    await server.job(event)
    return event, session


def segment_path(session: Session, sequence: int = 0) -> str:
    return f"{session.session}/primary-1/{sequence:08}.m4s"


async def test_one_signed_url_opens_the_whole_tree_and_nothing_beside_it(server: HlsServer) -> None:
    event, session = await recorded(server)
    other, _ = await recorded(server)
    url = server.url(event)
    names = ["index.m3u8", "dvr.m3u8", "primary-1-live.m3u8", "primary-1-dvr.m3u8", segment_path(session)]
    for name in names:
        assert (await server.http.get(url.replace("index.m3u8", name))).status_code == 200
    stolen = url.replace(event, other)
    assert (await server.http.get(stolen)).status_code == 403


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: "f" + token,
        lambda token: token.replace(ACCOUNT, "other"),
        lambda token: token.split(".")[0],
        lambda token: "%00" + token,
        lambda token: "x" * 5000,
    ],
)
async def test_a_spoilt_token_opens_nothing(server: HlsServer, spoil: object) -> None:
    event, _ = await recorded(server)
    token = server.url(event).split("/play/")[1].split("/")[0]
    answer = await server.http.get(f"{server.base_url}/play/{spoil(token)}/{event}/index.m3u8")  # type: ignore[operator]
    assert answer.status_code == 403
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_url_expires(server: HlsServer) -> None:
    event, session = await recorded(server)
    now_s = server.clock.now_ms() // 1000
    token = make_token(server.delivery.vault, ACCOUNT, event, now_s + 100)
    url = f"{server.base_url}/play/{token}/{event}/{segment_path(session)}"
    answer = await server.http.get(url)
    assert answer.status_code == 200
    left = int(answer.headers["cache-control"].split("max-age=")[1].split(",")[0])
    assert 0 < left <= 100
    server.clock.at_ms = (now_s + 100) * 1000
    assert (await server.http.get(url)).status_code == 403


async def test_a_token_of_another_installation_is_refused(server: HlsServer) -> None:
    event, _ = await recorded(server)
    token = make_token(Vault(b"another"), ACCOUNT, event, 2_000_000_000)
    assert (await server.http.get(f"{server.base_url}/play/{token}/{event}/index.m3u8")).status_code == 403


async def test_an_api_key_watches_its_own_account_s_events_alone(server: HlsServer) -> None:
    event, session = await recorded(server)
    server.keys.add("watch", "playback")
    server.keys.add("clips", "vods:read")
    server.keys.add("other", "playback", account="other")
    url = f"{server.base_url}/v1/jobs/{event}/hls/"
    for name in ("index.m3u8", "primary-1-live.m3u8", segment_path(session)):
        answer = await server.http.get(url + name, headers={"X-API-KEY": "watch"})
        assert answer.status_code == 200
        assert answer.headers["cache-control"].startswith("private")
        assert (await server.http.get(url + name)).status_code == 401
        assert (await server.http.get(url + name, headers={"X-API-KEY": "clips"})).status_code == 403
        assert (await server.http.get(url + name, headers={"X-API-KEY": "other"})).status_code == 404


async def test_a_playback_url_is_minted_for_the_time_asked(server: HlsServer) -> None:
    event, _ = await recorded(server)
    server.keys.add("watch", "playback")
    url = f"{server.base_url}/v1/jobs/{event}/playback"
    headers = {"X-API-KEY": "watch"}
    answer = await server.http.post(url, json={"expires_in": 300}, headers=headers)
    assert answer.status_code == 201
    made = answer.json()
    assert abs(made["expires_at"] - server.clock.now_ms() - 300_000) < 60_000
    assert (await server.http.get(made["url"])).status_code == 200
    assert (await server.http.get(made["dvr_url"])).status_code == 200
    server.clock.at_ms = made["expires_at"]
    assert (await server.http.get(made["url"])).status_code == 403
    bare = await server.http.post(url, headers=headers)
    assert bare.status_code == 201
    assert bare.json()["expires_at"] > server.clock.now_ms() + 3_600_000
    assert (await server.http.get(bare.json()["url"])).status_code == 200
    for bad in (0, -1, 59, 10**9, "soon", None, 1.5):
        answer = await server.http.post(url, json={"expires_in": bad}, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "expires_in"
    missing = f"{server.base_url}/v1/jobs/{new_event()}/playback"
    assert (await server.http.post(missing, json={}, headers=headers)).status_code == 404


async def test_segments_are_served_in_ranges_and_not_again_to_who_has_them(server: HlsServer) -> None:
    event, session = await recorded(server)
    url = server.url(event, segment_path(session))
    data = server.store.get(session.segment(0).key)
    whole = await server.http.get(url)
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, data, "video/mp4")
    assert "immutable" in whole.headers["cache-control"]
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(data)
    for asked, given in ((f"bytes=5-{size}", data[5:]), ("bytes=0-0", data[:1]), ("bytes=-7", data[-7:])):
        part = await server.http.get(url, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, given)
        assert part.headers["content-length"] == str(len(given))
    assert (await server.http.get(url, headers={"Range": "bytes=5-9"})).headers["content-range"] == f"bytes 5-9/{size}"
    outside = await server.http.get(url, headers={"Range": f"bytes={size}-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{size}")
    tag = whole.headers["etag"]
    again = await server.http.get(url, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    changed = await server.http.get(url, headers={"Range": "bytes=0-0", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, data)
    for fields in ({}, {"Range": "bytes=0-0"}):  # ranges are defined for GET alone (RFC 9110, 14.2)
        head = await server.http.head(url, headers=fields)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
    other = await server.http.get(url, headers={"If-Match": '"other"'})
    assert other.status_code == 412


async def test_init_segments_are_served_like_segments(server: HlsServer) -> None:
    event, session = await recorded(server)
    answer = await server.http.get(server.url(event, f"{session.session}/primary-1/init-0.mp4"))
    assert (answer.status_code, answer.content) == (200, b"init")


async def test_only_what_was_announced_is_served(server: HlsServer) -> None:
    event, session = await recorded(server)
    growing = session.segment(4)
    server.store.put(growing.key, b"half a segment")
    server.store.put(f"live/{event}/index/00000001-000000000001.json", b"{}")
    paths = [
        segment_path(session, 4), segment_path(Session(event)), "index/primary-1/00000000.m4s",
        f"{session.session}/primary-1/..%2F..%2Fx.m4s", f"{session.session}/primary-9/00000000.m4s",
        f"{session.session}/primary-1/init-7.mp4", f"{session.session}/primary-1/0.m4s",
        "index/00000001-000000000001.json",
        "backup-1-live.m3u8", "primary-1-range.m3u8", "primary-1-live.m3u8?start=1", "x.m3u8",
    ]  # fmt: skip
    for path in paths:
        answer = await server.http.get(server.url(event, path))
        assert answer.status_code == 404, path


async def test_playlists_are_short_lived_and_not_sent_twice(server: HlsServer) -> None:
    event, session = await recorded(server)
    url = server.url(event, "primary-1-live.m3u8")
    first = await server.http.get(url)
    assert first.headers["cache-control"] == "public, max-age=1"
    assert (await server.http.get(url, headers={"If-None-Match": first.headers["etag"]})).status_code == 304
    head = await server.http.head(url)
    assert (head.content, head.headers["content-length"]) == (b"", first.headers["content-length"])
    await publish(server.js, session.segments(1, first=4))
    second = await server.http.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert second.status_code == 200
    assert second.headers["etag"] != first.headers["etag"]


async def test_long_playlists_travel_packed(server: HlsServer) -> None:
    event, _ = await recorded(server, 200)
    url = server.url(event, "primary-1-dvr.m3u8")
    async with server.http.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join([piece async for piece in packed.aiter_raw()])
    plain = await server.http.get(url, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert len(raw) * 5 < len(plain.content)
    assert len(read_media(plain.text).parts) == 200


async def test_a_browser_on_another_site_may_play(server: HlsServer) -> None:
    event, session = await recorded(server)
    for url in (server.url(event), f"{server.base_url}/v1/jobs/{event}/hls/{segment_path(session)}"):
        ask = await server.http.options(url, headers={"Origin": "https://x", "Access-Control-Request-Method": "GET"})
        assert ask.status_code == 204
        assert ask.headers["access-control-allow-origin"] == "*"
        assert "Range" in ask.headers["access-control-allow-headers"]
    answer = await server.http.get(server.url(event, segment_path(session)), headers={"Origin": "https://x"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Content-Range" in answer.headers["access-control-expose-headers"]
    for bad, status in (("index.m3u8?start=x", 400), (f"index.m3u8?live={'x' * 9}&start=", 400), ("nothing.m3u8", 404)):
        refused = await server.http.get(server.url(event, bad), headers={"Origin": "https://x"})
        assert (refused.status_code, refused.headers.get("access-control-allow-origin")) == (status, "*"), bad
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert refused.headers["cache-control"] == "no-store"
    assert "no-store" not in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start=abc", "start"), ("start=-5&end=9", "start"), ("start=NaN", "start"), ("start=1e9", "start"),
        ("start=", "start"), ("end=5", "start"), ("start=10&end=10", "end"), ("start=10&end=9", "end"),
        ("start=0&end=172801", "end"), ("start=1&end=inf", "end"), ("start=%00", "start"),
        ("start=99999999999999", "start"),
    ],
)  # fmt: skip
async def test_a_bad_range_names_its_field(server: HlsServer, query: str, field: str) -> None:
    event, _ = await recorded(server)
    answer = await server.http.get(server.url(event, f"index.m3u8?{query}"))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


async def test_a_range_without_media_and_an_event_without_any_are_told_apart_from_errors(server: HlsServer) -> None:
    event, _ = await recorded(server)
    empty = await server.http.get(server.url(event, "index.m3u8?start=5&end=10"))
    assert empty.status_code == 404
    await server.job(silent := new_event(), "standby")
    waiting = await server.http.get(server.url(silent))
    assert (waiting.status_code, waiting.headers["retry-after"]) == (404, "1")
    assert waiting.json()["error_code"] == "NOT_READY"
    assert (await server.http.get(server.url(new_event()))).status_code == 404


async def test_tokens_reach_no_log(server: HlsServer) -> None:
    event, session = await recorded(server)
    url = server.url(event)
    token = url.split("/play/")[1].split("/")[0]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        for name in ("index.m3u8", "primary-1-live.m3u8", segment_path(session), "x", "index.m3u8?start=x"):
            await server.http.get(url.replace("index.m3u8", name))
    assert token not in out.getvalue() + err.getvalue()


async def test_expired_media_is_gone_for_players_as_well(server: HlsServer) -> None:
    event, session = await recorded(server)
    server.store.delete(session.segment(1).key)
    assert (await server.http.get(server.url(event, segment_path(session, 1)))).status_code == 404
