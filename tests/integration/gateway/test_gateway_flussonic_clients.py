"""What the vendor's Go client and Kodi's IPTV Simple send, as written down beside the tests, and their answers."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.support.api_gateway import Gateway, make_key
from tests.support.flussonic_stream import Recorded, recorded

REQUESTS = Path(__file__).parents[2] / "support" / "flussonic_requests"


async def a_stream(api: Gateway, player: httpx.AsyncClient, media: Path) -> Recorded:
    """Record 20 s, a minute ago, as a stream with slashes in its name."""
    stream = await recorded(api, player, 60)
    await stream.add(media, 0, 10)
    await stream.add(media, 10, 10)
    return stream


def filled(value: Any, words: dict[str, str]) -> Any:
    """Fill in what differs from run to run; numbers become numbers again."""
    if isinstance(value, dict):
        return {name: filled(inner, words) for name, inner in value.items()}
    if not isinstance(value, str):
        return value
    text = value
    for word, meant in words.items():
        text = text.replace(f"{{{word}}}", meant)
    return int(text) if text != value and text.isdecimal() else text


def at(answer: Any, path: str) -> Any:
    for part in path.split("."):
        answer = answer[int(part)] if isinstance(answer, list) else (answer or {}).get(part)
    return answer


async def test_the_go_client_s_calls(api: Gateway, player: httpx.AsyncClient, media: Path) -> None:
    stream = await a_stream(api, player, media)
    await api.publish(stream.job)  # an encoder is connected
    words = {"name": stream.name, "start": str(stream.start_s)}
    login = {"Authorization": f"Bearer {api.admin}", "X-Originator": "central", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=api.parts.public.base, headers=login) as client:
        for step in json.loads((REQUESTS / "go-flussonic.json").read_text()):
            method, path, body = (filled(part, words) for part in step["request"])
            trace = str(uuid4())
            content = None if body is None else json.dumps(body)
            answer = await client.request(method, path, content=content, headers={"X-Trace-Id": trace})
            assert answer.status_code == step["status"], (step["call"], answer.text)
            assert answer.headers["x-trace-id"] == trace
            said = answer.json() if answer.content else None
            for path, meant in step.get("says", {}).items():
                assert at(said, path) == filled(meant, words), (step["call"], path, said)
            if "has" in step:
                assert set(step["has"]) <= set(said), step["call"]
            if "error" in step:
                (error,) = said["errors"]
                assert [error["status"], error["code"], error["id"]] == [*step["error"], trace]


async def test_kodi_plays_and_catches_up_by_the_list_of_channels(
    api: Gateway, player: httpx.AsyncClient, media: Path
) -> None:
    stream = await a_stream(api, player, media)
    key = (await make_key(api, "playback"))["key"]
    base = api.parts.public.base
    for case in json.loads((REQUESTS / "kodi-iptvsimple.json").read_text()):
        kind = {"mpegts": "ts", "mono.m3u8": "mono"}.get(case["live"], "hls")
        listed = await player.get(f"{base}/flussonic/streams.m3u?format={kind}", auth=("kodi", key))
        assert listed.status_code == 200, listed.text
        assert listed.headers["content-type"].startswith("audio/x-mpegurl")
        lines = listed.text.splitlines()
        assert lines[0] == "#EXTM3U"
        where = next(number for number, line in enumerate(lines) if f'tvg-id="{stream.name}"' in line)
        assert re.fullmatch(r'#EXTINF:-1 tvg-id="[^"]+" catchup="flussonic" catchup-days="7",Channel', lines[where])
        live = re.sub(r"/[^/?]+\?", f"/{case['live']}?", lines[where + 1])
        now_s = api.clock.now_ms() // 1000
        words = {"utc": str(stream.start_s + 2), "offset": str(now_s - stream.start_s - 12), "now": str(now_s)}
        leaf, _, query = str(filled(case["catchup"], words)).partition("?")
        late = re.sub(r"/[^/?]+\?", f"/{leaf}?{query}{'&' if query else ''}", live)
        for url in (live, late):
            async with player.stream("GET", url) as answer:
                assert answer.status_code == 200, url
                assert answer.headers["content-type"] == case["type"]
                first = await anext(answer.aiter_bytes())
            assert first[:1] == b"G" if case["type"] == "video/mp2t" else first.startswith(b"#EXTM3U")


async def test_the_list_of_channels_is_the_account_s_own(api: Gateway, player: httpx.AsyncClient) -> None:
    stream = await recorded(api, player, 10, name=f"news/{uuid4().hex[:6]}")
    await api.http.put(f"/streamer/api/v3/streams/{stream.name}", json={"title": "News,\n#EXTINF 24"})
    text = (await api.http.get("/flussonic/streams.m3u")).text
    assert f'tvg-id="{stream.name}" catchup="flussonic" catchup-days="7",News, #EXTINF 24\n' in text
    assert f"/{stream.name}/index.m3u8?token=" in text
    other = await api.http.get("/flussonic/streams.m3u", headers={"X-Reelay-Account": "nobody"})
    assert other.text == "#EXTM3U\n"
    assert (await player.get(f"{api.parts.public.base}/flussonic/streams.m3u")).status_code == 401
    assert (await api.http.get("/flussonic/streams.m3u?expires_in=5")).status_code == 400
