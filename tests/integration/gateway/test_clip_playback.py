"""Clips played from the recording's own segments, from the moment of the request, and what their addresses open."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import numpy as np
import pytest

from shared.broker.kv import Bucket
from shared.messages.media import SegmentWritten
from shared.messages.recordings import RecordingRecord
from tests.support.api_gateway import Gateway, make_key, until, with_key
from tests.support.clipper_desk import Desk
from tests.support.framecode import HEIGHT, WIDTH, ffmpeg, read_number
from tests.support.framecode_record import Recording, Spec, record
from tests.support.hls_check import Playlist, attributes, check_reload, read_media, read_multivariant

RATE = 30


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """12 s in segments of 2 s; pictures refer to later ones."""
    return record(Spec(seconds=Fraction(12)), tmp_path_factory.mktemp("recording"))


@dataclass
class Live:
    """A live job with a recording in the gateway's store."""

    api: Gateway
    desk: Desk

    async def clip(self, **output: Any) -> str:
        body = {"live_job_id": self.desk.event, "outputs": [output]}
        answer = await self.api.http.post("/v1/vods", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["vod_jobs"][0]["jvod_id"])

    async def view(self, clip: str) -> dict[str, Any]:
        return dict((await self.api.http.get(f"/v1/vods/{clip}")).json())

    async def playlist(self, clip: str) -> tuple[Playlist, str]:
        """Return the media playlist by the signed address, and its own address."""
        url = (await self.view(clip))["playlist_url"]
        async with httpx.AsyncClient() as nobody:
            ((_, uri),) = read_multivariant((await nobody.get(url)).text)
            answer = await nobody.get(urljoin(url, uri))
        assert answer.status_code == 200, answer.text
        return read_media(answer.text), urljoin(url, uri)


@pytest.fixture
async def live(api: Gateway) -> Live:
    job = (await api.job())["id"]
    desk = Desk(api.js(), api.parts.service.settings, job, api.clock.now_ms() - 60_000)
    await api.publish(job)
    return Live(api, desk)


def frames(url: str, *options: str) -> list[int]:
    """Play a URL with ffmpeg to its end; return the numbers in its pictures."""
    command = [
        ffmpeg(), "-nostdin", "-v", "warning", "-xerror", *options, "-i", url, "-map", "0:v:0", "-fps_mode",
        "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "pipe:1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return [read_number(picture) for picture in np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH)]


def names(playlist: Playlist) -> list[int]:
    return [int(part.uri.rsplit("/", 1)[1].split(".")[0]) for part in playlist.parts]


def start_of(text: str) -> Fraction:
    line = next(line for line in text.splitlines() if line.startswith("#EXT-X-START:"))
    found = attributes(line.split(":", 1)[1])
    assert found["PRECISE"] == "YES"
    return Fraction(found["TIME-OFFSET"])


WINDOWS = [("2.5", "5.5", [1, 2]), ("4", "6", [2]), ("0", "12", [0, 1, 2, 3, 4, 5]), ("11", "15", [5])]


async def test_a_clip_plays_at_once_from_the_segments_that_hold_it(live: Live, recording: Recording) -> None:
    await live.desk.announce(live.desk.session(recording))
    for prefix, zero in (("stream_", Fraction(0)), ("", Fraction(live.desk.begun_ms, 1000))):
        for start, end, numbers in WINDOWS:
            points = {"start_time": float(Fraction(start) + zero), "end_time": float(Fraction(end) + zero)}
            clip = await live.clip(**{f"{prefix}{name}": value for name, value in points.items()})
            playlist, url = await live.playlist(clip)
            assert names(playlist) == numbers
            assert playlist.independent
            assert (playlist.kind, playlist.ended) == ("VOD", True)
            assert playlist.dates_ms == [live.desk.begun_ms + number * 2000 for number in numbers]
            offset = start_of((await live.api.http.get(url)).text)
            seen = await asyncio.to_thread(frames, (await live.view(clip))["playlist_url"])
            assert seen == list(range(numbers[0] * 60, (numbers[-1] + 1) * 60))
            assert seen[round(offset * RATE)] == Fraction(start) * RATE


async def test_the_playlist_stays_the_same_whatever_becomes_of_the_file(live: Live, recording: Recording) -> None:
    await live.desk.announce(live.desk.session(recording))
    clip = await live.clip(stream_start_time=3, stream_end_time=5)
    before, _ = await live.playlist(clip)
    command = await live.api.command(clip)
    fast, exact = (live.api.put_file(command, b"x", kind) for kind in ("segment", "frame"))
    for fields in (
        {"state": "processing"}, {"file": fast}, {"file": exact}, {"state": "finished"}, {"state": "failed"},
        {"state": "cancelled"},
    ):  # fmt: skip
        await live.api.write_clip(command, **fields)
        assert (await live.playlist(clip))[0] == before


async def test_an_api_key_plays_its_account_s_clips_alone(live: Live, recording: Recording) -> None:
    await live.desk.announce(live.desk.session(recording))
    clip = await live.clip(stream_start_time=3, stream_end_time=5)
    path = f"/v1/vods/{clip}/playlist.m3u8"
    url = live.api.parts.public.base + path
    seen = await asyncio.to_thread(frames, url, "-headers", f"X-API-KEY: {live.api.admin}\r\n")
    assert seen == list(range(60, 180))
    for scopes, account, status in (
        (["playback"], "main", 200), (["vods:read"], "main", 200), (["jobs:read"], "main", 403),
        (["playback"], "other", 404),
    ):  # fmt: skip
        key = (await make_key(live.api, *scopes, account=account))["key"]
        assert (await with_key(live.api, key, "GET", path)).status_code == status
    head = await live.api.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert (await live.api.http.get(path, headers={"If-None-Match": head.headers["etag"]})).status_code == 304
    async with httpx.AsyncClient(base_url=live.api.http.base_url) as nobody:
        assert (await nobody.get(path)).status_code == 401
        assert (await nobody.options(path)).headers["access-control-allow-origin"] == "*"
    assert (await live.api.http.get(f"/v1/vods/{'0' * 32}/playlist.m3u8")).status_code == 404


async def test_a_clip_s_address_opens_its_own_segments_and_nothing_else(live: Live, recording: Recording) -> None:
    mine, others = live.desk.session(recording), live.desk.session(recording, origin_ms=20_000)
    await live.desk.announce([*mine, *others])
    clip, other = [await live.clip(stream_start_time=at, stream_end_time=at + 2) for at in (4, 6)]
    _, url = await live.playlist(clip)
    token = url.split("/")[5]
    async with httpx.AsyncClient() as nobody:

        async def status(address: str) -> int:
            return (await nobody.get(address)).status_code

        def segment(one: SegmentWritten) -> str:
            return urljoin(url, one.key.split("/", 2)[2])

        assert [await status(segment(one)) for one in mine] == [404, 404, 200, 404, 404, 404]
        assert [await status(segment(one)) for one in others] == [404] * 6
        assert await status(urljoin(url, mine[0].init_key.split("/", 2)[2])) == 200
        assert await status(urljoin(url, others[0].init_key.split("/", 2)[2])) == 404
        part = await nobody.get(segment(mine[2]), headers={"Range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, recording.segments[2].path.read_bytes()[:10])
        base, event = live.api.parts.public.base, live.desk.event
        assert await status(urljoin(url, "backup-1.m3u8")) == 404
        assert await status(url.replace(clip, other)) == 403
        assert await status(url.replace(".main.", ".other.")) == 403
        assert await status(url.replace(token, "f" + token)) == 403
        for name in ("index.m3u8", "dvr.m3u8", "primary-1-dvr.m3u8", mine[2].key.split("/", 2)[2]):
            assert await status(f"{base}/play/{token}/{event}/{name}") == 403
        minted = (await live.api.http.post(f"/v1/jobs/{event}/playback")).json()["url"].split("/")[4]
        assert await status(url.replace(token, minted)) == 403
        assert await status(url.replace(token, minted).replace(clip, event)) == 403
        live.api.clock.ahead_ms = 26 * 3_600_000
        assert await status(segment(mine[2])) == 403


async def test_a_clip_whose_end_is_to_come_grows_until_then(live: Live, recording: Recording) -> None:
    segments = live.desk.session(recording)
    live.api.clock.ahead_ms = live.desk.begun_ms + 3000 - live.api.parts.service.clock.now_ms()
    await live.desk.announce(segments[:1])
    soon = await live.clip(stream_start_time="2.5", stream_end_time=3)
    clip = await live.clip(stream_start_time=3, stream_end_time=9, wait=True)
    for one in (soon, clip):
        early = await live.api.http.get(f"/v1/vods/{one}/playlist.m3u8")
        assert (early.status_code, early.json()["error_code"]) == (404, "NOT_READY")
    before: Playlist | None = None
    for count, numbers in ((2, [1]), (4, [1, 2, 3]), (5, [1, 2, 3, 4]), (6, [1, 2, 3, 4])):
        await live.desk.announce(segments[count - 2 : count])

        async def grown(numbers: list[int] = numbers) -> Playlist | None:
            answer = await live.api.http.get(f"/v1/vods/{clip}/hls/primary-1.m3u8")
            found = read_media(answer.text) if answer.status_code == 200 else None
            return found if found and names(found) == numbers else None

        playlist: Playlist = await until(grown)
        assert (playlist.kind, playlist.ended) == (("VOD", True) if count >= 5 else ("EVENT", False))
        if before and not playlist.ended:
            check_reload(before, playlist)
        before = playlist


async def test_gaps_are_discontinuities_and_salvaged_segments_are_in_what_is_over(
    live: Live, recording: Recording
) -> None:
    first, second = live.desk.session(recording), live.desk.session(recording, origin_ms=14_000)
    live.api.clock.ahead_ms = live.desk.begun_ms + 20_000 - live.api.clock.now_ms()
    await live.desk.announce([*first[:4], *second[:2]])
    late = [one.model_copy(update={"recovered": True}) for one in first[4:6]]
    await live.desk.announce(late)
    clip = await live.clip(stream_start_time=7, stream_end_time=17)
    growing, _ = await live.playlist(clip)
    assert (names(growing), growing.ended) == ([3, 0, 1], False)
    assert [part.seam for part in growing.parts] == [False, True, False]
    live.api.clock.ahead_ms = 0

    async def over() -> Playlist | None:
        playlist, _ = await live.playlist(clip)
        return playlist if playlist.ended else None

    playlist: Playlist = await until(over)
    assert names(playlist) == [3, 4, 5, 0, 1]
    assert [part.seam for part in playlist.parts] == [False, False, False, True, False]


async def test_the_playlist_begins_at_a_keyframe(live: Live, tmp_path: Path) -> None:
    recording = record(Spec(seconds=Fraction(9), gop=120, longest=Fraction(1)), tmp_path / "long")
    segments = live.desk.session(recording)
    await live.desk.announce([
        one.model_copy(update={"independent": bool(one.keyframes) and one.keyframes[0] - one.start < 20_000})
        for one in segments
    ])  # fmt: skip
    clip = await live.clip(stream_start_time=6, stream_end_time=7)
    seen = await asyncio.to_thread(frames, (await live.view(clip))["playlist_url"])
    assert seen[0] == 120
    assert 180 in seen


async def test_a_clip_whose_recording_has_expired_says_so(live: Live, recording: Recording) -> None:
    await live.desk.announce(live.desk.session(recording))
    clip = await live.clip(stream_start_time=3, stream_end_time=5)
    _, url = await live.playlist(clip)
    live.api.clock.ahead_ms = 60_000  # so late that nothing of it is on its way any more
    expired = RecordingRecord(account="main", event=live.desk.event, changed_ms=0, log_sequence=1 << 40)
    await Bucket(live.api.js, "recordings", RecordingRecord).change(f"main.{live.desk.event}", lambda _: expired)

    async def gone() -> httpx.Response | None:
        answer = await live.api.http.get(f"/v1/vods/{clip}/playlist.m3u8")
        return answer if answer.status_code == 404 else None

    answer: httpx.Response = await until(gone)
    assert "no longer kept" in answer.json()["detail"]
    assert answer.json()["error_code"] == "RESOURCE_NOT_FOUND"
    assert (await live.api.http.get(url)).status_code == 404


async def test_an_instant_clip_is_its_playlist(live: Live, recording: Recording) -> None:
    await live.desk.announce(live.desk.session(recording))
    clip = await live.clip(mode="instant", label="now", stream_start_time=3, stream_end_time=5)
    assert (await live.api.command(clip)).instant
    view = await live.view(clip)
    assert (view["jvod_type"], view["jvod_url"], view["signed_url"]) == ("instant", view["playlist_url"], None)
    assert await asyncio.to_thread(frames, view["jvod_url"]) == list(range(60, 180))
    plain = await live.clip(stream_start_time=3, stream_end_time=5)
    for kind, wanted in (("instant", {clip}), ("library", {plain})):
        listed = (await live.api.http.get("/v1/vods", params={"jvod_type": kind, "page_size": 1000})).json()["vod_jobs"]
        assert {one["jvod_id"] for one in listed} & {clip, plain} == wanted


NOT_WITH_INSTANT: list[tuple[dict[str, Any], str]] = [
    ({"duration": 5}, "outputs[0].duration"),
    ({"stream_start_time": 1, "duration": 5}, "outputs[0].duration"),
    ({"stream_start_time": 1, "stream_end_time": 2, "url": "s3://bucket/x.mp4"}, "outputs[0].url"),
    ({"stream_start_time": 1, "stream_end_time": 2, "credentials": "mine"}, "outputs[0].credentials"),
    (
        {"stream_start_time": 1, "stream_end_time": 2, "notifications": ["http://a.example/x"]},
        "outputs[0].notifications",
    ),
]


async def test_what_an_instant_clip_cannot_have_is_named(live: Live) -> None:
    for output, field in NOT_WITH_INSTANT:
        body = {"live_job_id": live.desk.event, "outputs": [{"mode": "instant", **output}]}
        answer = await live.api.http.post("/v1/vods", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field), answer.text
    point = {"stream_start_time": 1, "stream_end_time": 2}
    for outputs, status in (([{"mode": "instant", **point}], 400), ([{"mode": "instant", **point}, point], 201)):
        body = {"live_job_id": live.desk.event, "outputs": outputs, "notifications": ["http://a.example/x"]}
        answer = await live.api.http.post("/v1/vods", json=body)
        assert answer.status_code == status, answer.text
    told = [len((await live.api.command(one["jvod_id"])).notifications) for one in answer.json()["vod_jobs"]]
    assert told == [0, 1]
    bad = {"live_job_id": live.desk.event, "outputs": [{"mode": "slow", **point}]}
    answer = await live.api.http.post("/v1/vods", json=bad)
    assert answer.json()["errors"][0]["field"] == "outputs[0].mode"


async def test_a_reel_plays_its_ranges_one_after_the_other(live: Live, recording: Recording) -> None:
    """Of two jobs, in any order; as far as its first range that still grows."""
    job = (await live.api.job())["id"]
    await live.api.publish(job)
    other = Desk(live.api.js(), live.desk.settings, job, live.desk.begun_ms)
    await live.desk.announce(live.desk.session(recording))
    await other.announce(other.session(recording))
    ranges = [("8", "10"), ("2.5", "5.5"), ("2", "3")]
    asked = [{"stream_start_time": start, "stream_end_time": end} for start, end in ranges]
    clip = await live.clip(ranges=[{**asked[0], "live_job_id": job}, asked[1], {**asked[2], "live_job_id": job}])
    playlist, _ = await live.playlist(clip)
    assert names(playlist) == [4, 1, 2, 1]
    assert playlist.ended
    sessions = [part.uri.split("/")[0] for part in playlist.parts]
    assert sessions[0] == sessions[3] != sessions[1] == sessions[2]
    assert [part.seam for part in playlist.parts] == [False, True, False, True]
    soon = {"stream_start_time": "11", "duration": 60, "wait": True}
    growing, _ = await live.playlist(await live.clip(ranges=[asked[1], soon, asked[0]]))
    assert (names(growing), growing.ended) == ([1, 2, 5], False)
