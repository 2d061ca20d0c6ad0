"""Asking the holder of a lease whether it lives: who is replaced, and who is not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from nats.js import JetStreamContext

from services.ingester import holders as holders_module
from services.ingester import leases as leases_module
from services.ingester.holders import Holders
from services.ingester.leases import Lease, Leases
from shared.broker.kv import Bucket, Conflict, Stored
from shared.broker.subjects import holder_subject
from shared.errors import Rejected, Unavailable
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import new_id

ACCOUNT = "main"
STALL = timedelta(milliseconds=1500)
"""Seen with a loaded machine. Whoever stands still for so long lives."""


def leases(
    js: JetStreamContext, instance: str, made: type[Holders] = Holders, bucket: Bucket[Lease] | None = None
) -> Leases:
    """Make an instance on a machine of its own, which asks and can be asked."""
    held = Leases(bucket or Bucket(lambda: js, "leases", Lease), instance, f"host-{instance}", made(lambda: js._nc))
    held.me = held.me.model_copy(update={"machine": f"machine of {instance}"})
    return held


async def test_a_holder_that_did_not_answer_and_has_renewed_since_is_asked_again(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RENEW", timedelta(milliseconds=50))
    async with connected(nats.url) as js:
        event, session = new_id(), new_id()
        a, b = leases(js, "a"), leases(js, "b")
        await a.take(ACCOUNT, event, session)
        before = a.epoch(ACCOUNT, event, session) or 0
        assert not await b.is_elsewhere(ACCOUNT, event), "nobody answers"
        async with a.renewing():

            async def renewed() -> bool:
                return (a.epoch(ACCOUNT, event, session) or 0) > before

            await until(renewed)
            with pytest.raises(Rejected):
                await b.take(ACCOUNT, event, new_id())
        assert await b.holder(ACCOUNT, event, session) == "lives"


class Noisy(Holders):
    """Before it answers, does what a test wants."""

    before: Callable[[], None] = staticmethod(lambda: None)

    @asynccontextmanager
    async def answering(self, token: str, has: Callable[[str], bool]) -> AsyncIterator[None]:
        def heard(key: str) -> bool:
            self.before()
            return has(key)

        async with super().answering(token, heard):
            yield


@dataclass
class Apart:
    """A holder with a thread and a loop of its own, which can stand still while the others' go on."""

    event: str = field(default_factory=new_id)
    session: str = field(default_factory=new_id)
    lost: list[str] = field(default_factory=list)
    thawed: threading.Event = field(default_factory=threading.Event)
    _ready: threading.Event = field(default_factory=threading.Event)

    async def _hold(self, url: str, made: type[Holders]) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with connected(url) as js:
            held = leases(js, "a", made)
            held.on_lost(self.lost.append)
            await held.take(ACCOUNT, self.event, self.session)
            async with held.renewing():
                self._ready.set()
                await self._over.wait()

    @contextlib.contextmanager
    def running(self, url: str, made: type[Holders] = Holders) -> Iterator[Apart]:
        thread = threading.Thread(target=lambda: asyncio.run(self._hold(url, made)))
        thread.start()
        try:
            assert self._ready.wait(30)
            yield self
        finally:
            self.thawed.set()
            self._loop.call_soon_threadsafe(self._over.set)
            thread.join(30)

    def freeze(self, duration: timedelta | None = None) -> None:
        """Let its loop stand still for so long, or until it is thawed; returns when it does."""
        still(self._loop, lambda: self.thawed.wait(None if duration is None else duration.total_seconds()))


def still(loop: asyncio.AbstractEventLoop, block: Callable[[], object]) -> None:
    """Let another thread's loop run what blocks it; returns when it stands still."""
    stands = threading.Event()
    loop.call_soon_threadsafe(lambda: (stands.set(), block()))
    assert stands.wait(30)


async def test_a_holder_that_stands_still_for_a_while_is_not_replaced(nats: NatsServer) -> None:
    with Apart().running(nats.url) as holder:
        async with connected(nats.url) as js:
            b = leases(js, "b")
            holder.freeze(STALL)
            with pytest.raises(Rejected):
                await b.take(ACCOUNT, holder.event, new_id())
            assert await b.holder(ACCOUNT, holder.event, holder.session) == "lives"
    assert not holder.lost


async def test_one_that_stood_still_while_it_asked_replaces_nobody_who_answered(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer lies there when the asker is awake again, and its time is up."""
    asker = asyncio.get_running_loop()
    monkeypatch.setattr(Noisy, "before", staticmethod(lambda: still(asker, lambda: time.sleep(STALL.total_seconds()))))
    with Apart().running(nats.url, Noisy) as holder:
        async with connected(nats.url) as js:
            b = leases(js, "b")
            with pytest.raises(Rejected):
                await b.take(ACCOUNT, holder.event, new_id())
            assert await b.holder(ACCOUNT, holder.event, holder.session) == "lives"
    assert not holder.lost


@pytest.mark.parametrize("stall", [timedelta(), STALL], ids=["awake", "stalled"])
async def test_a_holder_that_is_frozen_is_replaced_and_finds_that_out_when_it_is_awake(
    nats: NatsServer, stall: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by one that stands still for a part of the time in which it asks."""
    monkeypatch.setattr(leases_module, "RENEW", timedelta(hours=1))
    with Apart().running(nats.url) as holder:
        async with connected(nats.url) as js:
            b, session = leases(js, "b"), new_id()
            async with b.renewing():
                holder.freeze()
                asyncio.get_running_loop().call_later(0.2, time.sleep, stall.total_seconds())
                await b.take(ACCOUNT, holder.event, session)
                holder.thawed.set()
                await until(lambda: asyncio.sleep(0, holder.lost))
            assert await b.holder(ACCOUNT, holder.event, session) == "lives"
    assert holder.lost == [holder.session]


@pytest.mark.parametrize(("there", "questions"), [(False, 1), (True, 2)])
async def test_who_has_left_the_broker_is_asked_once_and_who_is_there_twice(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, there: bool, questions: int
) -> None:
    asked, ask = [], Holders._ask

    async def counted(*given: object) -> bytes | None:
        asked.append(given)
        return await ask(*given)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(Holders, "_ask", counted)
    async with connected(nats.url) as js:
        client, token = js._nc, new_id()
        if there:  # and says nothing
            await client.subscribe(holder_subject(token))
            await client.flush()
        assert await Holders(lambda: client).holds(token, "main.event") is False
    assert len(asked) == questions


async def test_a_holder_that_is_gone_is_replaced(nats: NatsServer) -> None:
    with Apart().running(nats.url) as holder:
        pass
    async with connected(nats.url) as js:
        b, session = leases(js, "b"), new_id()
        await b.take(ACCOUNT, holder.event, session)
        assert b.epoch(ACCOUNT, holder.event, session)


async def test_two_that_come_at_once_for_the_event_of_one_that_is_gone_do_not_replace_each_other(
    nats: NatsServer,
) -> None:
    with Apart().running(nats.url) as holder:
        pass
    async with connected(nats.url) as one, connected(nats.url) as two:
        both = leases(one, "b"), leases(two, "c")
        async with both[0].renewing(), both[1].renewing():
            came = await asyncio.gather(
                *(held.take(ACCOUNT, holder.event, new_id()) for held in both), return_exceptions=True
            )
    assert sorted(type(result).__name__ for result in came) == ["NoneType", "PublishRefused"]


class Late(Bucket[Lease]):
    """Its writes arrive, and the answers do when they are let go."""

    go: asyncio.Event

    async def create(self, key: str, value: Lease) -> int:
        revision = await super().create(key, value)
        await self.go.wait()
        return revision


async def test_one_whose_write_is_not_answered_yet_holds_what_it_takes(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        event, session = new_id(), new_id()
        bucket = Late(lambda: js, "leases", Lease)
        bucket.go = asyncio.Event()
        b, c = leases(js, "b", bucket=bucket), leases(js, "c")
        async with b.renewing():
            taking = asyncio.create_task(b.take(ACCOUNT, event, session))
            await until(lambda: bucket.get(f"{ACCOUNT}.{event}"))
            with pytest.raises(Rejected):
                await c.take(ACCOUNT, event, new_id())
            bucket.go.set()
            await taking
            assert b.epoch(ACCOUNT, event, session)


class Contended(Bucket[Lease]):
    """Somebody else is always first."""

    async def create(self, key: str, value: Lease) -> int:
        raise Conflict(key)


async def test_a_publisher_that_never_gets_the_lease_is_not_let_in(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        event, session = new_id(), new_id()
        b = leases(js, "b", bucket=Contended(lambda: js, "leases", Lease))
        with pytest.raises(Rejected):
            await b.take(ACCOUNT, event, session)
        assert b.epoch(ACCOUNT, event, session) is None


class Lagging(Bucket[Lease]):
    """Reads from a replica that has not heard of the last writes yet."""

    old: Stored[Lease] | None = None

    async def get(self, key: str) -> Stored[Lease] | None:
        old, self.old = self.old, None
        return old or await super().get(key)


async def test_a_read_older_than_the_own_write_ends_no_session(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RENEW", timedelta(milliseconds=50))
    async with connected(nats.url) as js:
        event, session, lost = new_id(), new_id(), list[str]()
        bucket = Lagging(lambda: js, "leases", Lease)
        b, c = leases(js, "b", bucket=bucket), leases(js, "c")
        b.on_lost(lost.append)
        await c.take(ACCOUNT, event, new_id())
        old = await bucket.get(f"{ACCOUNT}.{event}")
        await b.take(ACCOUNT, event, session)  # nobody answers for c
        epoch, bucket.old = b.epoch(ACCOUNT, event, session) or 0, old
        async with b.renewing():
            await until(lambda: asyncio.sleep(0, lost or (b.epoch(ACCOUNT, event, session) or 0) > epoch))
        assert bucket.old is None
        assert not lost


async def test_who_has_just_come_back_to_the_broker_takes_nobody_for_dead(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one may be just coming back, too. A renewal that goes well at once does not change that."""
    async with connected(nats.url) as js:
        event = new_id()
        b, c = leases(js, "b"), leases(js, "c")
        await c.take(ACCOUNT, event, new_id())
        monkeypatch.setattr(leases_module, "RENEW", timedelta(milliseconds=50))
        async with b.renewing():
            js._nc.stats["reconnects"] += 1
            await b.take(ACCOUNT, other := new_id(), session := new_id())
            taken = b.epoch(ACCOUNT, other, session) or 0
            await until(lambda: asyncio.sleep(0, (b.epoch(ACCOUNT, other, session) or 0) > taken))
            with pytest.raises(Rejected):
                await b.take(ACCOUNT, event, new_id())
            monkeypatch.setattr(holders_module, "SETTLED", timedelta())
            await b.take(ACCOUNT, event, new_id())


class Away(Bucket[Lease]):
    """Of a broker that is away at first."""

    is_away = True

    async def get(self, key: str) -> Stored[Lease] | None:
        if self.is_away:
            self.is_away = False
            raise Unavailable("away")
        return await super().get(key)


@pytest.mark.parametrize("other", ["lives", "is gone", "is gone, and the connection is new"])
async def test_one_that_was_let_in_without_the_broker_asks_whose_lease_it_finds(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """A machine with an ingester and a broker dies. Its encoder comes to another, and its lease is there yet."""
    monkeypatch.setattr(leases_module, "RENEW", timedelta(milliseconds=50))
    monkeypatch.setattr(holders_module, "SETTLED", timedelta(seconds=3))
    async with connected(nats.url) as js, contextlib.AsyncExitStack() as living:
        event, session, lost = new_id(), new_id(), list[str]()
        b, c = leases(js, "b", bucket=Away(lambda: js, "leases", Lease)), leases(js, "c")
        b.on_lost(lost.append)
        await c.take(ACCOUNT, event, new_id())
        if other == "lives":
            await living.enter_async_context(c.renewing())
        await b.take(ACCOUNT, event, session)
        assert b.epoch(ACCOUNT, event, session) == 0
        js._nc.stats["reconnects"] += "new" in other
        async with b.renewing():
            await until(lambda: asyncio.sleep(0, lost or b.epoch(ACCOUNT, event, session)))
        assert lost == ([session] if other == "lives" else [])
