"""Sessions of players with a backend: who stays in when many come, what is told of them, and at what cost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from services.gateway.facades.flussonic.play import session
from services.gateway.facades.flussonic.play.admission import Admission, Admitted, Rule
from services.gateway.facades.flussonic.play.session import Player, Proto
from services.gateway.http.problems import ApiError
from shared.security.backends import Answer, Backends
from shared.security.secrets import Vault

YES = Answer(allowed=True, holds=timedelta(seconds=180))
NO = Answer(allowed=False, holds=timedelta(seconds=10))


@dataclass
class Time:
    """A clock that stands still until it is told."""

    seconds: float = 1000

    def monotonic_ns(self) -> int:
        return int(self.seconds * 10**9)

    def now_ms(self) -> int:
        return int(self.seconds * 1000)


@dataclass
class Backend:
    """Answers by token; questions about `slow` tokens are answered when they are let go."""

    answers: dict[str, Answer] = field(default_factory=dict)
    slow: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    waits: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, account: str, url: str, params: dict[str, str], trace: str = "") -> Answer:
        del account, url, trace
        self.asked.append(params)
        if params["token"] in self.slow:
            self.waits.set()
            await self.slow[params["token"]].wait()
        return self.answers.get(params["token"], YES)


@dataclass
class Door:
    """Players before a backend."""

    backend: Backend = field(default_factory=Backend)
    time: Time = field(default_factory=Time)
    rule: Rule = field(default_factory=lambda: Rule("http://backend.example/"))

    def __post_init__(self) -> None:
        self.admission = Admission(cast("Backends", self.backend), Vault(bytes(32)), self.time)

    async def admit(self, token: str, proto: Proto = "hls", name: str = "cam", ip: str = "192.0.2.1") -> Admitted:
        return await self.admission.admit("main", self.rule, Player(name, ip, proto, token))

    async def status(self, token: str, **more: Any) -> int:
        try:
            await self.admit(token, **more)
        except ApiError as error:
            return error.status
        return 200

    async def crowd(self, count: int, answer: Answer = YES, first: int = 0) -> None:
        """Let many come, each from its own address."""
        for n in range(first, first + count):
            self.backend.answers[f"crowd{n}"] = answer
            await self.status(f"crowd{n}", ip=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")

    def told(self) -> tuple[int, int]:
        """Return what the last question said of the players there are."""
        asked = self.backend.asked[-1]
        return int(asked["stream_clients"]), int(asked["total_clients"])


async def test_whom_many_denied_ones_do_not_throw_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_SILENT", 500)
    door = Door()
    box = await door.admit("box", "mpegts")
    with box.held():
        assert await door.status("viewer") == 200
        for tenth in range(11):
            await door.crowd(50, NO, first=50 * tenth)
            door.time.seconds += 4
            assert box.goes_on()
            assert await door.status("viewer") == 200
        asked = [one["request_type"] for one in door.backend.asked if not one["token"].startswith("crowd")]
        assert asked == ["new_session"] * 2
    assert box.goes_on()


async def test_who_is_asked_about_again_gets_the_answer_though_others_come_meanwhile() -> None:
    door = Door()
    door.backend.answers["late"] = NO
    assert await door.status("late") == 403
    door.time.seconds += 11
    door.backend.answers["late"] = YES
    go = door.backend.slow["late"] = asyncio.Event()
    first = asyncio.create_task(door.status("late"))
    await door.backend.waits.wait()
    assert await door.status("newcomer") == 200
    second = asyncio.create_task(door.status("late"))
    await asyncio.sleep(0)
    go.set()
    assert [await first, await second, await door.status("late")] == [200, 200, 200]
    assert [one["request_number"] for one in door.backend.asked if one["token"] == "late"] == ["0", "1"]


async def test_who_was_closed_while_asked_about_is_asked_about_anew() -> None:
    door = Door(rule=Rule("http://backend.example/", most=1, soft=True))
    same = Answer(allowed=True, holds=timedelta(seconds=10), user="u1")
    door.backend.answers |= {"old": same, "new": same}
    assert await door.status("old") == 200
    door.time.seconds += 11
    go = door.backend.slow["old"] = asyncio.Event()
    assert await door.status("old") == 200  # asked about beside
    await door.backend.waits.wait()
    assert await door.status("new") == 200  # closes the old one
    again = asyncio.create_task(door.status("old"))
    await asyncio.sleep(0)
    go.set()
    assert await again == 200
    assert door.backend.asked[-1]["request_type"] == "new_session"
    assert door.told() == (1, 1)


async def test_how_many_play_is_told() -> None:
    door = Door()
    steps: list[tuple[Callable[[], Awaitable[object]], float, tuple[int, int]]] = [
        (lambda: door.admit("a"), 0, (0, 0)),
        (lambda: door.admit("b", name="other"), 0, (0, 1)),
        (lambda: door.crowd(1, NO), 0, (1, 2)),
        (lambda: door.admit("c"), 59, (1, 2)),
        (lambda: door.admit("d"), 2, (1, 1)),  # a and b have left
        (lambda: door.admit("a", proto="mp4"), 0, (2, 2)),
        (lambda: door.admit("e", name="other"), 61, (0, 0)),
    ]
    for number, (comes, after, told) in enumerate(steps):
        door.time.seconds += after
        await comes()
        assert door.told() == told, number
    with (await door.admit("held", "mpegts")).held():
        door.time.seconds += 100
        await door.admit("f")
        assert door.told() == (1, 1)
    door.time.seconds += 61
    await door.admit("g")
    assert door.told() == (0, 0)


async def test_a_question_costs_the_same_however_many_play() -> None:
    door = Door(rule=Rule("http://backend.example/", most=2))

    async def steps(token: str) -> int:
        """Return how many functions are called, and generators gone on with, for a new player."""
        count = 0

        def seen(_frame: object, event: str, _arg: object) -> None:
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(seen)
        try:
            assert await door.status(token) == 200
        finally:
            sys.setprofile(before)
        return count

    await door.crowd(10)
    await steps("warm")
    few = await steps("few")
    await door.crowd(300, first=10)
    many = await steps("many")
    assert door.told() == (312, 312)
    assert many < few + 50


async def test_a_limit_closes_the_oldest() -> None:
    door = Door(rule=Rule("http://backend.example/", most=2))
    one = Answer(allowed=True, holds=timedelta(seconds=180), user="u1")
    door.backend.answers |= dict.fromkeys("abcd", one)
    for token in "abc":
        assert await door.status(token) == 200
        door.time.seconds += 1
    assert [await door.status(token) for token in "abc"] == [403, 200, 200]
    assert await door.status("a", proto="jpeg") == 200  # counts for no limit
    door.time.seconds += 50
    assert await door.status("c") == 200
    door.time.seconds += 20  # b has left
    assert await door.status("d") == 200
    assert [await door.status(token) for token in "cd"] == [200, 200]
