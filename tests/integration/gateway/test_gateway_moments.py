"""Pictures of moments of a recording: which frame, in gaps, at its ends, by each clock; who may, and how often."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from services.clipper import app as clipper
from services.clipper.images.moments import Moments
from services.gateway.delivery.moments import pictures
from services.gateway.delivery.tokens import make_name_token
from shared.broker.kv import Bucket
from shared.messages.pictures import PictureRecord, RecordingPicture
from shared.runtime.settings import Settings
from shared.security.peers import Budget
from shared.store.reserve import Reserve
from tests.support.api_gateway import Gateway, gateway, make_key, until, with_key
from tests.support.clipper_desk import Desk
from tests.support.framecode import read_number
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.shared_bus import idle, send, served

RATE = 30
NONE = Reserve(Path("/"), 0)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(), tmp_path_factory.mktemp("recording"))


@dataclass
class Live:
    """A job whose recording has frames 0 to 179 from its start, and again from 20 s on."""

    api: Gateway
    desk: Desk
    settings: Settings

    @property
    def job(self) -> str:
        return self.desk.event

    async def image(self, status: int = 200, **query: Any) -> httpx.Response:
        answer = await self.api.http.get(f"/v1/jobs/{self.job}/image", params=query)
        assert answer.status_code == status, answer.text
        return answer

    async def orders(self) -> int:
        """Return how many pictures were ordered and not made."""
        info = await self.api.clipper.js().stream_info("COMMANDS_CLIPPER", subjects_filter="recordings.picture.>")
        return len(info.state.subjects or {})


@contextlib.asynccontextmanager
async def live(nats: NatsServer, folder: Path, recording: Recording, *, works: bool = True) -> AsyncIterator[Live]:
    settings = Settings(data_dir=folder, nats_url=nats.url)
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(gateway(nats, folder))
        if works:
            await stack.enter_async_context(served("clipper", clipper.build, settings))
        desk = Desk(api.ingester.js(), settings, (await api.job())["id"])
        for origin_s in (0, 20):
            await desk.announce(desk.session(recording, origin_s * 1000))
        yield Live(api, desk, settings)


def numbers(data: bytes) -> list[int]:
    with av.open(io.BytesIO(data)) as container:
        return [read_number(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


async def test_a_moment_has_the_frame_that_was_on_show(nats: NatsServer, tmp_path: Path, recording: Recording) -> None:
    async with live(nats, tmp_path, recording) as at:
        begun = Fraction(at.desk.begun_ms, 1000)
        cases: list[tuple[dict[str, Any], int]] = [
            ({"stream_time": "0"}, 0),
            ({"stream_time": "1.5"}, 45),  # a B-frame, inside a GOP
            ({"stream_time": "1.99"}, 59),  # the last one before a keyframe
            ({"stream_time": "2", "format": "png"}, 60),
            ({"stream_time": "5.99", "format": "webp"}, 179),
            ({"stream_time": "22.05", "width": 160}, 61),  # of the second session
            ({"at": f"{float(begun + 3):.3f}"}, 90),
        ]
        for query, frame in cases:
            answer = await at.image(**query)
            assert answer.headers["content-type"] == f"image/{query.get('format', 'jpeg')}"
            assert "x-reelay-skipped" not in answer.headers
            if "width" not in query:
                assert numbers(answer.content) == [frame], query
            else:
                with av.open(io.BytesIO(answer.content)) as container:
                    assert (container.streams.video[0].width, container.streams.video[0].height) == (160, 90)
            stream_s = frame / RATE + (20 if query.get("stream_time", "").startswith("22") else 0)
            assert abs(float(answer.headers["x-reelay-stream-time"]) - stream_s) < 0.002
        newest = await at.image()
        assert numbers(newest.content) == [120]  # of the newest segment
        assert newest.headers["cache-control"] == "private, max-age=1"


async def test_a_moment_in_a_gap_has_the_next_frame_and_says_so(
    nats: NatsServer, tmp_path: Path, recording: Recording
) -> None:
    async with live(nats, tmp_path, recording) as at:
        skipping = await at.image(stream_time="12.5")
        assert numbers(skipping.content) == [0]
        assert abs(float(skipping.headers["x-reelay-skipped"]) - 7.5) < 0.1
        assert abs(float(skipping.headers["x-reelay-stream-time"]) - 20) < 0.002
        before = await at.image(at=f"{at.desk.begun_ms // 1000 - 50}")
        assert numbers(before.content) == [0]
        beyond = await at.image(404, stream_time="40")
        assert beyond.headers["retry-after"] == "1"  # it may still come
        await at.api.http.put(f"/v1/jobs/{at.job}/cancel")
        await at.api.until_state(at.job, "cancelled")

        async def ended() -> bool:  # what the gateway knows of the job is a second old at most
            return "retry-after" not in (await at.image(404, stream_time="40")).headers

        await until(ended)


async def test_wrong_questions_are_told_and_strangers_see_nothing(
    nats: NatsServer, tmp_path: Path, recording: Recording
) -> None:
    async with live(nats, tmp_path, recording, works=False) as at:
        bad: list[tuple[dict[str, Any], str | None]] = [
            ({"at": "yesterday"}, "at"), ({"at": "-1"}, "at"), ({"at": "1e9"}, "at"),
            ({"stream_time": "NaN"}, "stream_time"),
            ({"at": "1", "stream_time": "1"}, None), ({"timecode": "1:2:3"}, "timecode"), ({"width": "5"}, "width"),
            ({"height": "9999"}, "height"), ({"format": "gif"}, "format"), ({"quality": "0"}, "quality"),
            ({"timecode": "10:00:00:00"}, "timecode"),  # the stream has none
        ]  # fmt: skip
        for query, field in bad:
            answer = await at.image(400, **query)
            assert [one["field"] for one in answer.json()["errors"]] == [field] * bool(field), query
        assert (await at.api.http.get(f"/v1/jobs/{'0' * 32}/image")).status_code == 404
        empty = (await at.api.job())["id"]
        assert (await at.api.http.get(f"/v1/jobs/{empty}/image?stream_time=1")).status_code == 404
        for scope, status in (("webhooks", 403), ("vods:read", 403)):
            key = (await make_key(at.api, scope))["key"]
            assert (await with_key(at.api, key, "GET", f"/v1/jobs/{at.job}/image")).status_code == status
        other = await at.api.http.get(f"/v1/jobs/{at.job}/image", headers={"X-Reelay-Account": "other"})
        assert other.status_code == 404
        assert await at.orders() == 0


async def test_a_picture_is_made_once_for_all_who_ask(nats: NatsServer, tmp_path: Path, recording: Recording) -> None:
    async with live(nats, tmp_path, recording) as at:
        first = await at.image(stream_time="3.3")
        folder = at.desk.store.path("pictures/main")
        (file,) = folder.iterdir()
        made = file.stat().st_mtime_ns
        again = await at.image(stream_time="3.3")
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
        same = await at.api.http.get(
            f"/v1/jobs/{at.job}/image?stream_time=3.3", headers={"If-None-Match": first.headers["etag"]}
        )
        assert same.status_code == 304
        answers = await asyncio.gather(*(at.image(stream_time="3.3") for _ in range(8)))
        assert {answer.content for answer in answers} == {first.content}
        assert file.stat().st_mtime_ns == made
        order = RecordingPicture(
            account="main", event=at.job, picture=file.stem, track="primary-1", at=Fraction(1), form="jpeg", at_ms=1
        )
        sequence = await send(at.api.parts.service.js(), order, times=2)  # an old order, twice
        await until(lambda: idle(at.api.clipper.js(), "clipper-moment", sequence))
        assert file.stat().st_mtime_ns == made
        records = Bucket(at.api.clipper.js, "pictures", PictureRecord)
        moments = Moments(None, at.desk.store, records, at.api.clock, NONE)  # type: ignore[arg-type]
        assert moments.sweep() == 0
        at.api.clock.ahead_ms = 3 * 3600 * 1000
        assert moments.sweep() == 1
        assert not file.exists()


async def test_who_waits_for_many_pictures_is_told_to_come_again(
    nats: NatsServer, tmp_path: Path, recording: Recording
) -> None:
    async with live(nats, tmp_path, recording, works=False) as at:
        at.api.parts.pictures.patience = timedelta(minutes=1)
        asked = [asyncio.create_task(at.image(stream_time=f"{n}")) for n in range(pictures.AT_ONCE)]

        async def ordered() -> bool:
            return await at.orders() == pictures.AT_ONCE

        await until(ordered)
        asked += [asyncio.create_task(at.image(stream_time="0")) for _ in range(20)]  # the same for all: one order
        refused = await at.image(429, stream_time="4.5")
        assert refused.json()["error_code"] == "TOO_MANY_PICTURES"
        assert refused.headers["retry-after"] == "1"
        async with served("clipper", clipper.build, at.settings):  # it comes later: nothing is lost
            answers = await asyncio.gather(*asked)
            assert await at.orders() == 0
        expected = [*range(pictures.AT_ONCE), *[0] * 20]
        assert [numbers(answer.content) for answer in answers] == [[RATE * n] for n in expected]
        at.api.parts.pictures.patience = timedelta(0)
        assert (await at.image(504, stream_time="5.5")).json()["error_code"] == "NO_ANSWER"


async def test_what_cannot_be_decoded_is_said(nats: NatsServer, tmp_path: Path, recording: Recording) -> None:
    async with live(nats, tmp_path, recording) as at:
        broken = at.desk.session(recording, 60_000)
        for segment in broken:
            path = at.desk.store.path(segment.key)
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(bytes(len(data)))
        gone = at.desk.session(recording, 80_000)
        for segment in gone:
            at.desk.store.path(segment.key).unlink()
        await at.desk.announce(broken)
        await at.desk.announce(gone)
        for moment in ("63", "83"):
            answer = await at.image(404, stream_time=moment)
            assert "there is no picture of this moment" in answer.json()["detail"]
            assert str(tmp_path) not in answer.text
        assert numbers((await at.image(stream_time="1")).content) == [30]


async def test_previews_of_a_stream(nats: NatsServer, tmp_path: Path, recording: Recording) -> None:
    async with live(nats, tmp_path, recording) as at, httpx.AsyncClient(base_url=at.api.parts.public.base) as player:
        now_s = at.api.clock.now_ms() // 1000
        token = make_name_token(at.api.parts.service.vault, "main", at.job, now_s + 3600)
        begun_s = at.desk.begun_ms / 1000
        later = int(begun_s) + 3
        seen = 30 * (later - begun_s)
        for leaf, kind, expected in (
            ("preview.jpg", "image/jpeg", 120),
            ("preview.mp4", "video/mp4", 120),
            (f"{later}-preview.jpg", "image/jpeg", int(seen + 0.02)),
            (f"{later}-preview.mp4", "video/mp4", int(seen + 0.02) // 60 * 60),  # the keyframe before
            (f"{int(begun_s) + 10}-preview.jpg", "image/jpeg", 0),  # in the gap
        ):
            answer = await player.get(f"/{at.job}/{leaf}?token={token}")
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == kind
            assert answer.headers["access-control-allow-origin"] == "*"
            assert numbers(answer.content) == [expected], leaf
            head = await player.head(f"/{at.job}/{leaf}?token={token}")
            assert (head.status_code, head.content) == (200, b"")
        film = await player.get(f"/{at.job}/preview.mp4?token={token}", headers={"Range": "bytes=0-99"})
        assert (film.status_code, len(film.content)) == (206, 100)
        assert (await player.get(f"/{at.job}/preview.jpg")).status_code == 401
        assert (await player.get(f"/{at.job}/preview.jpg?token=x")).status_code == 403
        wrong = await player.get(f"/{at.job}/{now_s + 999}-preview.jpg?token={token}")
        assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (404, "not_found")


async def test_a_viewer_has_only_so_many_new_pictures_made(
    nats: NatsServer, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(nats, tmp_path, recording) as at, httpx.AsyncClient(base_url=at.api.parts.public.base) as player:
        monkeypatch.setattr(at.api.parts.pictures, "_networks", Budget(2, timedelta(hours=1), at.api.clock))
        token = make_name_token(at.api.parts.service.vault, "main", at.job, at.api.clock.now_ms() // 1000 + 3600)
        begun_s = at.desk.begun_ms // 1000

        async def statuses(*seconds: int, **headers: str) -> list[int]:
            query = "" if headers else f"?token={token}"
            urls = [f"/{at.job}/{begun_s + second}-preview.jpg{query}" for second in seconds]
            return [(await player.get(url, headers=headers)).status_code for url in urls]

        assert await statuses(1, 2, 3, 4) == [200, 200, 429, 429]
        assert await statuses(1, 2) == [200, 200]  # they are there
        refused = await player.get(f"/{at.job}/{begun_s + 3}-preview.mp4?token={token}")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 3000
        assert (await player.get(f"/{at.job}/preview.jpg?token={token}")).status_code == 200  # one a segment at most
        key = (await make_key(at.api, "playback"))["key"]
        assert await statuses(3, **{"X-API-KEY": key}) == [200]
        assert await statuses(3) == [200]
        monkeypatch.setattr(at.api.parts.pictures, "_networks", Budget(9, timedelta(hours=1), at.api.clock))
        monkeypatch.setattr(at.api.parts.pictures, "_viewers", Budget(1, timedelta(hours=1), at.api.clock))
        assert await statuses(4, 5) == [200, 429]
