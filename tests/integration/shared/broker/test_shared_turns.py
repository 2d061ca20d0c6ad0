"""Accounts take turns in a work queue, whatever lies before them, with several instances, kills and waits."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError

from shared.broker import bus, middleware, streams, turns
from shared.errors import NotYet
from shared.messages.clips import ClipRefine
from shared.runtime.service import make_service
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import connected, until
from tests.support.shared_bus import (
    apply,
    child,
    hasten,
    is_done,
    letter,
    new_id,
    running,
    settings_for,
    turn_info,
)
from tests.support.shared_child import ACK_WAIT
from tests.support.turns_bench import QUEUE, STREAM, Bench, no_consumer, nothing_in, order


@pytest.fixture
def nats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    """A broker of the test's own: no other test's consumers are in it."""
    monkeypatch.setattr(streams, "CONSUMERS", streams.CONSUMERS)
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.mark.parametrize("instances", [1, 2])
async def test_one_command_of_another_account_is_next_after_those_in_work(
    nats: NatsServer, tmp_path: Path, instances: int
) -> None:
    bench = Bench(nats, tmp_path)
    async with connected(nats.url) as js, bench.running(instances):
        await order(js, "many", 60)
        await bench.started(instances)
        await order(js, "single")
        await bench.has_heard()
        for more in range(1, 3):
            bench.go.release()
            await bench.started(instances + more)
        assert "single" in bench.starts[instances : instances + 2]


@pytest.mark.parametrize("instances", [1, 2])
async def test_accounts_get_equal_shares_whatever_lay_there_before_the_first_start(
    nats: NatsServer, tmp_path: Path, instances: int
) -> None:
    bench = Bench(nats, tmp_path)
    async with connected(nats.url) as js:
        for account in "abc":
            await order(js, account, 20)
        async with bench.running(instances):
            for done in range(30):
                await bench.started(instances + done)
                bench.go.release()
            shares = [bench.starts.count(account) for account in "abc"]
            assert max(shares) - min(shares) <= instances
            for _ in range(60):
                bench.go.release()
            await until(lambda: nothing_in(js))
    assert sorted(bench.starts) == ["a"] * 20 + ["b"] * 20 + ["c"] * 20, "each once"
    assert len(set(bench.clips)) == 60


async def test_a_killed_worker_s_command_comes_again_and_its_account_keeps_its_turn(
    nats: NatsServer, tmp_path: Path
) -> None:
    hasten(QUEUE, ack_wait=ACK_WAIT)
    bench = Bench(nats, tmp_path)
    async with connected(nats.url) as js:
        await apply(js, QUEUE, ACK_WAIT)
        first, second = await order(js, "main", 2)
        with child(
            settings_for(nats, tmp_path), tmp_path / "log", "tests.support.shared_child", "slow", str(tmp_path)
        ) as killed:
            await until(lambda: asyncio.sleep(0, (tmp_path / "notes").exists()))
            killed.send_signal(signal.SIGKILL)
            killed.wait(10)
        await order(js, "other", 10)
        async with bench.running(1):
            for done in range(11):
                await bench.started(1 + done)
                bench.go.release()
            assert second in bench.clips[:3], "though its first one is in nobody's hands yet"
            await bench.started(12)
            bench.go.release()
            await until(lambda: nothing_in(js))
    assert first in bench.clips
    assert len(bench.clips) == len(set(bench.clips)) == 12


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_waits_of_one_account_takes_no_place_from_another(
    nats: NatsServer, tmp_path: Path, ordered: bool
) -> None:
    if ordered:
        hasten(QUEUE, max_ack_pending=1)
    seen: list[str] = []
    service = make_service("clipper", settings_for(nats, tmp_path))

    async def work(message: ClipRefine) -> None:
        seen.append(message.account)
        if message.account == "waits":
            raise NotYet("not now", timedelta(minutes=5))

    service.handle(QUEUE, work)
    async with connected(nats.url) as js, running(service):
        await order(js, "waits", 5)
        most = 1 if ordered else 5
        await until(lambda: asyncio.sleep(0, len(seen) == most))
        await order(js, "other", 5)
        await until(lambda: asyncio.sleep(0, seen.count("other") == 5))
        assert seen.count("waits") == most


async def test_an_ordered_queue_keeps_an_account_s_order_over_instances_failures_and_waits(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=20))
    hasten(QUEUE, max_ack_pending=1, workers=4)
    seen: list[str] = []

    async def work(message: ClipRefine) -> None:
        number = len(seen)
        seen.append(message.clip)
        await asyncio.sleep(0)
        if number % 3 == 0:
            raise NotYet("again", timedelta(milliseconds=10))
        if number % 7 == 0:
            raise OSError("once")

    async with connected(nats.url) as js, AsyncExitStack() as stack:
        for _ in range(2):
            service = make_service("clipper", settings_for(nats, tmp_path))
            service.handle(QUEUE, work)
            await stack.enter_async_context(running(service))
        clips = await order(js, "main", 20)
        await until(lambda: nothing_in(js))
    assert list(dict.fromkeys(seen)) == clips
    assert [clip for clip, following in zip(seen, [*seen[1:], ""], strict=True) if clip != following] == clips


@pytest.mark.parametrize("account", ["a-b", "0", "ünï", "A_b", "a/b", "a\\b", "=", "==", "x" * 300, "ab" * 16])
async def test_accounts_of_any_name_are_worked_on_or_buried(nats: NatsServer, tmp_path: Path, account: str) -> None:
    bench = Bench(nats, tmp_path)
    async with connected(nats.url) as js, bench.running(1):
        body = b'{"account": "%s", "clip": "%s"}' % (account.encode(), new_id().encode())
        sequence = (await js.publish(f"clips.refine.{account}.{new_id()}", body, stream=STREAM)).seq
        bench.go.release()
        await until(lambda: nothing_in(js))
        assert bench.starts == [account] or await letter(js, QUEUE, sequence)
        assert len(await js.consumers_info(STREAM)) == 1


async def test_a_subject_without_account_or_id_is_not_taken_by_the_queue(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        for subject in ("clips.refine.main", "clips.refine.main.x.y"):
            with pytest.raises(NoStreamResponseError):
                await js.publish(subject, b"{}", stream=STREAM)


async def test_nothing_is_left_of_an_account_that_has_nothing_left_and_work_is_not_parted_from_its_worker(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "UNUSED", timedelta(milliseconds=300))
    hasten(QUEUE, ack_wait=ACK_WAIT)
    bench = Bench(nats, tmp_path)
    async with connected(nats.url) as js, bench.running(1):
        await order(js, "busy")
        await bench.started(1)
        await order(js, "other")
        for ping in range(60):  # five times as long as an unused one stays
            await asyncio.wait_for(bench.has_heard(), 5)
            await asyncio.sleep(0.025)
            info = await turn_info(js, QUEUE, "busy")
            assert info is not None, ping
            assert info.num_redelivered == 0
        for _ in range(2):
            bench.go.release()
        await until(lambda: no_consumer(js))
        assert bench.starts == ["busy", "other"]
        await order(js, "busy")
        await bench.started(3)
        bench.go.release()
        await until(lambda: nothing_in(js))


async def test_a_command_that_was_not_heard_is_found(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(_self: object, _message: object) -> None:
        pass

    monkeypatch.setattr(turns.Turns, "_hear", deaf)
    monkeypatch.setattr(turns, "LOOK", timedelta(milliseconds=100))
    bench = Bench(nats, tmp_path)
    async with connected(nats.url) as js, bench.running(1):
        await order(js, "main")
        await bench.started(1)


class Hand(turns.Turns):
    """Asks when the test says so, and counts the answers that came when nobody waited for them any more."""

    made: list[Hand]
    late = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made.append(self)

    def again(self, subject: str, delay: timedelta) -> None:
        """Hear nothing."""

    async def _look(self) -> None:
        await asyncio.Event().wait()

    def _late(self, message: Msg) -> None:
        self.late += 1
        super()._late(message)

    def ask(self) -> None:
        self._rota.expect("main", self._now())
        self._heard.set()

    async def ask_too_late(self, js: JetStreamContext) -> None:
        """Have the broker answer what a desk asked before and no longer waits for."""
        before = self.late
        await until(lambda: asyncio.sleep(0, self._desks and not len(self._rota)))
        (desk,) = self._desks
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{turns.turn_consumer(QUEUE, 'main')}"
        await js._nc.publish(subject, b'{"batch": 1, "expires": 20000000000}', reply=f"{desk._inbox}.0")
        await until(lambda: asyncio.sleep(0, self.late > before))


async def test_answers_that_come_too_late_are_no_tries(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that stood still, or was away, answers what nobody waits for any more: the command goes back."""
    Hand.made = []
    monkeypatch.setattr(bus, "Turns", Hand)
    hasten(QUEUE, max_deliver=2)
    tries: list[str] = []
    go = asyncio.Event()

    async def wait(message: ClipRefine) -> None:
        tries.append(message.clip)
        if not go.is_set():
            raise NotYet("the test goes on", timedelta(seconds=1))

    service = make_service("clipper", settings_for(nats, tmp_path))
    service.handle(QUEUE, wait)
    (hand,) = Hand.made
    async with connected(nats.url) as js, running(service):
        (clip,) = await order(js, "main")
        sequence = (await js.stream_info(STREAM)).state.last_seq
        hand.ask()
        await until(lambda: asyncio.sleep(0, tries))
        for _ in range(3):
            await hand.ask_too_late(js)
        go.set()

        async def is_over() -> bool:
            hand.ask()
            return await is_done(js, QUEUE, sequence)

        await until(is_over)
        assert await letter(js, QUEUE, sequence) is None
        assert tries == [clip] * 2


async def test_a_refused_consumer_stops_its_account_alone(nats: NatsServer, tmp_path: Path) -> None:
    """One with another name and the same filter, say of a person: the server takes no second one."""
    bench = Bench(nats, tmp_path)
    async with connected(nats.url) as js:
        config = turns.account_config(streams.consumer(QUEUE), "taken").evolve(name="person", durable_name="person")
        await js.add_consumer(STREAM, config)
        async with bench.running(1):
            await order(js, "taken")
            await order(js, "main")
            await bench.started(1)
            bench.go.release()
            assert bench.starts == ["main"]
            await js.delete_consumer(STREAM, "person")
            await bench.started(2)
