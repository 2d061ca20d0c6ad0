"""Whatever is sent to the streamer API and the archive URLs: a refusal in the vendor's form, and never a fault."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest

from tests.support.api_gateway import Gateway
from tests.support.flussonic_stream import recorded

STREAMS: Final = "/streamer/api/v3/streams"
LEAVES: Final = (
    "archive-0-0.m3u8", "archive-1-172801.m3u8", "archive-99999999999-1.mp4", "archive-1-99999999999.mp4",
    "archive--1-5.mp4", "archive-1e9-5.mp4", "archive-%D9%A1%D9%A2-5.m3u8", "archive-1-5.mp4.mp4", "archive-1-5.exe",
    "archive-now-5.mp4", "archive-1-5.m3u8%00", "archive-1-5.m3u8%0a", "timeshift_abs-99999999999.ts",
    "timeshift_rel-99999999999.m3u8", "timeshift_rel-99999999999.ts", "rewind-0.m3u8",
    "rewind-99999999.m3u8", "99999999999.ts", "99999999999-preview.jpg", "0000000000000-preview.jpg", "-1-preview.mp4",
    "preview.jpg.jpg", "preview.gif", "primary-1-range.m3u8", "primary-1-range.m3u8?start=5&end=1",
    "primary-1-range.m3u8?start=NaN", "primary-1-range.m3u8?start=1&end=1e308", "primary-1-shift.m3u8?delay=Infinity",
    "primary-9-live.m3u8", "recording_status.json?from=x", "recording_status.json?from=5&to=1",
    "recording_status.json?from=999999999999999", "index.m3u8?utc=-1", "index.m3u8?utc=1e999", "mpegts?utc=99999999999",
    "mpegts?utc=x", "..%2F..%2Fadmin.key", "%2e%2e/%2e%2e/admin.key", "%252e%252e/admin.key", "init-1.mp4",
    "a/primary-1/00000000.m4s", "0" * 32 + "/primary-1/00000000.m4s", "0" * 32 + "/primary-1/init-0.mp4",
    "0" * 32 + "/primary-1/..%2Finit-0.mp4",
)  # fmt: skip
QUERIES: Final = (
    "limit=0", "limit=-1", "limit=1e3", "limit=99999999999999999999", "limit=%00", "cursor=x", "cursor=" + "A" * 4000,
    "sort=--name", "sort=name,,", "sort=__class__", "name_gt=%00", "x_is=maybe", "name_zz=1&limit=x",
)  # fmt: skip
BODIES: Final[tuple[Any, ...]] = (
    b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"title": NaN}', b'{"title": 5}', b'{"title": "' + b"x" * 600 + b'"}',
    b'{"inputs": {}}', b'{"inputs": [{"url": 5}]}', b'{"inputs": [{"url": "javascript:x"}]}', b'{"dvr": []}',
    b'{"dvr": {"expiration": -1}}', b'{"dvr": {"expiration": 1e400}}', b'{"dvr": {"expiration": true}}',
    b'{"on_play": 5}', b'{"on_play": {"url": "http://[::1]/"}}', b'{"on_play": {"url": "http://0x7f.1/"}}',
    b'{"on_publish": {"url": "http://localhost/"}}', b'{"comment": "' + b"x" * 9000 + b'"}',
    b'{"$reset": "true"}', b'{"dvr": {"$reset": 1}}', b'{"a":' * 2000 + b"1" + b"}" * 2000, b'{"title": "\\ud800"}',
)  # fmt: skip
RANGES: Final[tuple[dict[str, Any], ...]] = (
    {}, {"from": -1, "duration": 5}, {"from": 1, "duration": 0}, {"from": "1", "duration": None}, {"opened_at": 5},
    {"opened_at": 5, "closed_at": 5}, {"opened_at": 1, "closed_at": 10**18}, {"from": 1.5, "duration": 2},
    {"from": True, "duration": 5}, {"ranges": []}, {"ranges": 5}, {"ranges": [{}] * 101}, {"ranges": [5]},
    {"locks": {"from": 1}}, {"from": 10**30, "duration": 1},
)  # fmt: skip


def refused(answer: httpx.Response, asked: object, *, form: bool) -> None:
    """Check that an answer is a refusal, in the vendor's form where the address is one of its own."""
    assert 400 <= answer.status_code < 500, (asked, answer.status_code, answer.text[:200])
    assert "Traceback" not in answer.text
    if form:
        errors = answer.json()["errors"]
        assert errors, asked
        assert {error["status"] for error in errors} == {str(answer.status_code)}, asked


async def test_archive_urls(api: Gateway, tmp_path_factory: pytest.TempPathFactory) -> None:
    async with httpx.AsyncClient(timeout=30) as player:
        stream = await recorded(api, player, 40)
        await stream.add(tmp_path_factory.mktemp("media"), 0, 10)
        base = f"{api.parts.public.base}/{stream.name}"
        secret = (api.folder / "admin.key").read_text().strip()
        for leaf in LEAVES:
            joint = "&" if "?" in leaf else "?"
            for method in ("GET", "HEAD"):
                answer = await player.request(method, httpx.URL(f"{base}/{leaf}{joint}token={stream.token}"))
                refused(answer, (method, leaf), form=False)
                assert secret not in answer.text
        for token in ("", "x", "a.b.c", "f" * 10 + ".main." + "A" * 43, stream.token[:-1] + "_", "%00", "x" * 9000):
            for leaf in ("index.m3u8", "mpegts", "preview.jpg", "archive-1-5.mp4", "recording_status.json"):
                refused(await player.get(f"{base}/{leaf}?token={token}"), (token[:20], leaf), form=False)
        twice = await player.get(f"{base}/index.m3u8?token={stream.token}&token=x")
        assert twice.status_code in {200, 403}
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            refused(await player.request(method, f"{base}/index.m3u8?token={stream.token}"), method, form=False)
        url = stream.url(f"archive-{stream.start_s}-10.mp4")
        for span in ("bytes=5-1", "bytes=a-b", "bytes=-", "lines=1-2", "bytes=0-1,5-6", "bytes=" + "0-1," * 2000):
            answer = await player.get(url, headers={"Range": span})
            assert answer.status_code in {200, 206, 416, 431}, span


async def test_the_streamer_api(api: Gateway) -> None:
    http = api.http
    made = await http.put(f"{STREAMS}/tv/kept", json={"title": "Kept"})
    assert made.status_code == 200
    for query in QUERIES:
        answer = await http.get(f"{STREAMS}?{query}")
        if answer.status_code != 200:
            refused(answer, query, form=True)
    for body in BODIES:
        for name in ("tv/kept", "tv/new"):
            refused(await http.put(f"{STREAMS}/{name}", content=body), body[:60], form=True)
    kept = (await http.get(f"{STREAMS}/tv/kept")).json()
    assert kept["config_on_disk"] == {"name": "tv/kept", "title": "Kept"}
    assert (await http.get(f"{STREAMS}/tv/new")).status_code == 404


async def test_names_and_ranges_of_the_streamer_api(api: Gateway) -> None:
    http = api.http
    assert (await http.put(f"{STREAMS}/tv/held", json={"title": "Kept"})).status_code == 200
    for name in ("v1/x", "tv//x", "tv/x/", "-tv", "t v", "tv/x/dvr/ranges/y/stop", "x" * 201, "t%00v", "é"):
        answer = await http.put(f"{STREAMS}/{name}", json={})
        if "/dvr/" not in name:
            refused(answer, name, form=False)
    for body in RANGES:
        for path, method in (("ranges", "DELETE"), ("locks", "POST"), ("locks", "DELETE")):
            answer = await http.request(method, f"{STREAMS}/tv/held/dvr/{path}", json=body)
            if answer.status_code != 204:  # nothing of it is locked
                refused(answer, (method, path, body), form=True)
    for query in ("", "from=1", "from=x&duration=1&path=a.mp4", "from=1&duration=-5&path=a.mp4", "from=1&duration=5"):
        refused(await http.post(f"{STREAMS}/tv/held/dvr/export?{query}"), query, form=True)
    cross = {"Sec-Fetch-Site": "cross-site"}
    refused(await http.put(f"{STREAMS}/tv/held", json={"title": "x"}, headers=cross), "another site", form=True)
    kept = (await http.get(f"{STREAMS}/tv/held")).json()
    assert kept["config_on_disk"] == {"name": "tv/held", "title": "Kept"}


async def test_what_no_route_takes_is_refused_in_the_form_of_the_address(api: Gateway) -> None:
    trace = {"X-Trace-Id": "b1946ac9-2d45-4a8c-a7a0-4b6e0f1c9d11"}
    for method, path, status, code, allowed in (
        ("GET", "/streamer/api/v3/episodes", 404, "not_found", None),
        ("PUT", "/flussonic/api/sessions", 404, "not_found", None),
        ("PATCH", f"{STREAMS}/a/b", 405, "method_not_allowed", "DELETE, GET, PUT"),
        ("GET", "/flussonic/api/dvr/lock", 405, "method_not_allowed", "POST"),
    ):
        answer = await api.http.request(method, path, headers=trace)
        refused(answer, path, form=True)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"], error["id"]) == (status, code, trace["X-Trace-Id"]), path
        assert answer.headers.get("allow") == allowed, path
    signed = await api.http.get("/api/cdn/v2/forwardRequest.action")
    assert (signed.status_code, signed.json()["http_code"], signed.headers["allow"]) == (405, "405", "POST")
