"""Backends that decide who plays: what they are asked, how long answers hold, limits, and servers that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.gateway.delivery.tokens import make_name_token
from shared.security import backends
from tests.support.api_gateway import Gateway, gateway, make_key, until
from tests.support.flussonic_backend import channel
from tests.support.nats import NatsServer
from tests.support.webhook_receiver import Receiver, Reply, webhook_receiver

LOCAL = {"allow_nets": "127.0.0.0/8"}


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, **LOCAL) as running:
        yield running


async def test_the_backend_is_asked_once_a_session_with_what_it_should_know(
    api: Gateway, backend: Receiver, media: Path
) -> None:
    async with channel(api, backend, media) as at:
        index = await at.get(**{"User-Agent": "Kodi/21", "Referer": "https://tv.example/x", "X-Trace-Id": "trace-7"})
        assert index.status_code == 200
        assert index.headers["cache-control"].startswith("private")
        for line in index.text.splitlines():
            if line.startswith("primary"):
                assert "token=t1" in line
                assert (await at.get(line.partition("?")[0], **{"User-Agent": "Kodi/21"})).status_code == 200
        (asked,) = at.asked()
        session = asked.pop("session_id")
        assert len(session) == 36
        assert asked == {
            "site": "1", "name": at.recorded.name, "proto": "hls", "ip": "127.0.0.1", "token": "t1",
            "request_type": "new_session", "request_number": "0", "stream_clients": "1", "total_clients": "1",
            "duration": "0", "user_agent": "Kodi/21", "referer": "https://tv.example/x", "qs": "token=t1",
        }  # fmt: skip
        assert backend.requests[0].headers["x-trace-id"] == "trace-7"
        assert (await at.get(token="t2")).status_code == 200
        assert (await at.get(f"archive-{at.recorded.start_s}-5.mp4")).status_code == 200
        assert [(one["token"], one["proto"], one["total_clients"]) for one in at.asked()[1:]] == [
            ("t2", "hls", "2"), ("t1", "mp4", "3"),
        ]  # fmt: skip
        head = {"X-API-KEY": at.api.admin}
        assert (await at.client.get(at.recorded.url("index.m3u8").partition("?")[0], headers=head)).status_code == 200
        assert len(backend.requests) == 3, "a key is asked about by nobody"


REPLIES: list[tuple[Reply, int]] = [
    (Reply(200), 200), (Reply(204), 200), (Reply(403), 403), (Reply(401), 403), (Reply(404), 403),
    (Reply(302, {"Location": "http://127.0.0.1:1/ok"}), 503), (Reply(500), 503), (Reply(200, endless=True), 200),
    (Reply(429), 503), (Reply(silent=True), 503),
    (Reply(200, {"X-AuthDuration": "-5", "X-Max-Sessions": "many", "X-UserId": "u" * 5000}), 200),
    (Reply(200, {"X-AuthDuration": "9" * 4000}), 200),
]  # fmt: skip


async def test_each_answer_and_each_lie(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(api, backend, media) as at:
        for number, (reply, status) in enumerate(REPLIES):
            backend.default = reply
            answer = await at.get(token=f"t{number}")
            assert answer.status_code == status, reply
            if status != 200:
                assert answer.headers["cache-control"] == "no-store"
                assert answer.json()["errors"][0]["code"] == {403: "forbidden", 503: "service_unavailable"}[status]
                assert backend.url("") not in answer.text
            assert (answer.headers.get("retry-after") == "2") == (status == 503)
        assert len(at.asked()) == len(REPLIES)


async def test_answers_hold_as_long_as_they_say(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(api, backend, media) as at:
        backend.script = [Reply(200, {"X-AuthDuration": "60"}), Reply(403, {"X-AuthDuration": "60"})]
        assert await at.statuses("yes", "no", "yes", "no") == [200, 403, 200, 403]
        assert len(at.asked()) == 2
        await at.later(30)
        assert await at.statuses("yes", "no") == [200, 403]
        await at.later(31)
        backend.script = [Reply(403), Reply(200)]
        assert await at.statuses("yes") == [200], "who plays is not held up by the question"
        await backend.count(3)

        async def out() -> bool:
            return await at.statuses("yes") == [403]

        await until(out)
        assert await at.statuses("no") == [200], "a no is asked again, too"
        updates = at.asked()[2:4]
        assert [(one["request_type"], one["request_number"]) for one in updates] == [("update_session", "1")] * 2
        assert int(updates[0]["duration"]) >= 60
        assert updates[0]["session_id"] == at.asked()[0]["session_id"]


async def test_a_silent_backend_keeps_who_plays_and_lets_in_nobody_new(
    api: Gateway, backend: Receiver, media: Path
) -> None:
    async with channel(api, backend, media) as at:
        backend.script = [Reply(200, {"X-AuthDuration": "5"}), Reply(403, {"X-AuthDuration": "5"})]
        assert await at.statuses("in", "out") == [200, 403]
        await at.later(6)
        backend.default = Reply(500)
        assert await at.statuses("in", "out", "new") == [200, 403, 503]
        asked = len(at.asked())
        assert await at.statuses("a", "b", "c") == [503] * 3
        assert len(at.asked()) <= asked + 1, "after three faults it is left alone for a moment"
        backend.default = Reply(200)
        await at.later(11)

        async def back() -> bool:
            return await at.statuses("in", "new") == [200, 200]

        await until(back)


async def test_a_slow_backend_holds_up_its_own_players_alone(api: Gateway, backend: Receiver, media: Path) -> None:
    async with webhook_receiver() as other, channel(api, backend, media) as slow, channel(api, other, media) as quick:
        api.parts.admission.backends.patience = timedelta(seconds=30)
        gate = asyncio.Event()
        backend.default = Reply(200, wait=gate)
        waiting = [asyncio.create_task(slow.get(token=f"s{n}")) for n in range(backends.AT_ONCE)]
        await backend.count(backends.AT_ONCE)
        assert (await slow.get(token="one more")).status_code == 503
        assert await quick.statuses("q1") == [503], "of the same account: its bound"
        key = (await make_key(api, "jobs:read", "jobs:write", account="other"))["key"]
        name = f"tv/{quick.recorded.job[:8]}-other"
        made = await api.http.put(
            f"/streamer/api/v3/streams/{name}",
            json={"on_play": {"url": other.url("/auth")}},
            headers={"X-API-KEY": key},
        )
        assert made.status_code == 200

        async def asked() -> bool:
            found = await quick.client.get(f"{api.parts.public.base}/{name}/index.m3u8?token=x")
            return found.status_code == 404  # it was let in, and nothing is recorded

        await until(asked)
        assert not any(task.done() for task in waiting)
        gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
        backend.requests.clear()
        gate.clear()
        same = [asyncio.create_task(slow.get(token="shared")) for _ in range(5)]
        await backend.count(1)
        gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*same)} == {200}
        assert len(backend.requests) == 1, "requests of one session are one question"


async def test_all_who_come_at_once_get_in(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(api, backend, media) as at:
        api.parts.admission.backends.patience = timedelta(seconds=30)  # on a busy machine it takes its time
        answers = await asyncio.gather(*(at.get(token=f"crowd{n}") for n in range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(backend.requests) == 100
        assert max(backend.most_at_once.values()) == 1, "each is asked about once"


async def test_a_user_has_so_many_sessions(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(api, backend, media) as at:
        backend.default = Reply(200, {"X-UserId": "anna", "X-Max-Sessions": "2", "X-AuthDuration": "60"})
        assert await at.statuses("a", "b", "a", "b") == [200] * 4
        assert await at.statuses("c") == [200]
        assert await at.statuses("a", "b", "c") == [403, 200, 200], "the oldest has to go"
        backend.default = Reply(200, {"X-UserId": "ben", "X-Max-Sessions": "2"})
        assert await at.statuses("d", "b", "c") == [200] * 3, "users count by themselves"
        backend.default = Reply(200, {"X-UserId": "anna", "X-Unique": "true"})
        assert await at.statuses("e", "b", "c") == [200, 403, 403]
        await at.later(61)  # those who left do not count
        backend.default = Reply(200, {"X-UserId": "ben", "X-Max-Sessions": "1"})
        assert await at.statuses("f", "f") == [200, 200]


async def test_soft_limits_and_the_keys_of_a_session(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(
        api, backend, media, max_sessions=1, soft_limitation=True, session_keys=["name", "token", "user_agent"]
    ) as at:
        backend.default = Reply(200, {"X-UserId": "anna"})
        kodi, vlc = {"User-Agent": "Kodi"}, {"User-Agent": "VLC"}
        assert (await at.get(**kodi)).status_code == 200
        assert (await at.get("mono.m3u8", **kodi)).status_code == 200
        assert len(at.asked()) == 1
        assert (await at.get(**vlc)).status_code == 200  # closes Kodi's session
        assert (await at.get(**kodi)).status_code == 200  # which is asked about anew
        assert [one["request_type"] for one in at.asked()] == ["new_session"] * 3


async def test_a_transport_stream_ends_with_its_permission(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(api, backend, media) as at:
        backend.default = Reply(200, {"X-AuthDuration": "60"})
        url = f"{at.api.parts.public.base}/{at.recorded.name}/archive-{at.recorded.start_s}-now.ts?token=ts"
        got = bytearray()

        async def play() -> None:
            async with at.client.stream("GET", url) as answer:
                assert answer.status_code == 200
                async for piece in answer.aiter_bytes():
                    got.extend(piece)

        async with asyncio.timeout(60):
            playing = asyncio.create_task(play())
            await backend.count(1)

            async def some() -> bool:
                return len(got) > 100_000

            await until(some)
            await at.later(61)
            backend.default = Reply(403)
            await at.recorded.add(media, 10, 10)  # what follows is no longer sent
            await backend.count(2)
            await at.recorded.add(media, 20, 10)
            await playing
        assert at.asked()[1]["request_type"] == "update_session"


async def test_tokens_of_ours_open_nothing_more_than_the_backend(api: Gateway, backend: Receiver, media: Path) -> None:
    async with channel(api, backend, media) as at:
        token = make_name_token(api.parts.service.vault, "main", at.recorded.name, api.clock.now_ms() // 1000 + 3600)
        backend.default = Reply(403)
        assert (await at.get(token=token)).status_code == 403
        assert at.asked()[0]["token"] == token
        other = await at.client.get(f"{at.recorded.url('index.m3u8').partition('?')[0]}?token={token}&account=another")
        assert other.status_code == 403, "the account of the query does not hide the stream from its backend"
        assert (await at.get("recording_status.json", token="x")).status_code == 403
        assert (await at.get("preview.jpg", token="x")).status_code == 403
        assert (await at.get("../v1/jobs", token="x")).status_code in {401, 404}
        removed = await api.http.put(f"/streamer/api/v3/streams/{at.recorded.name}", json={"on_play": None})
        assert removed.status_code == 200

        async def open_again() -> bool:
            return (await at.get(token=token)).status_code == 200

        await until(open_again)
        assert (await at.get(token="x")).status_code == 403


async def test_many_new_sessions_from_one_network_are_slowed(
    api: Gateway, backend: Receiver, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with channel(api, backend, media) as at:
        monkeypatch.setattr(api.parts.admission._strangers, "_most", 5)
        monkeypatch.setattr(api.parts.admission._strangers, "_regain_ns", 10**12)
        backend.default = Reply(403)
        found = await at.statuses(*(f"guess{n}" for n in range(12)))
        assert found.count(429) >= 7
        assert len(backend.requests) <= 5
