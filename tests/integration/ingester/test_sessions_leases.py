"""Who may hold an event: one publisher an instance, one instance an event; and what a feed publishes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext

from services.ingester import leases as leases_module
from services.ingester.access import AdmittedJob
from services.ingester.feed import SessionFeed
from services.ingester.leases import Lease, Leases
from services.ingester.publication import Batch
from services.ingester.recorder.model import SegmentInfo
from services.ingester.sessions import Sessions
from shared.broker.kv import Bucket
from shared.errors import Rejected
from shared.messages.base import Message
from shared.messages.jobs import JobRecord
from shared.messages.media import SegmentWritten
from shared.runtime.settings import Settings
from shared.store import MediaStore
from shared.store.local import LocalStore
from shared.store.opening import open_store
from tests.support.media_recording import SteppedClock
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.s3 import s3_server
from tests.support.sessions_parts import ACCOUNT, Spy, begun, dead_process, leases, records
from tests.support.shared_bus import new_id


async def test_one_instance_an_event(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        event, first, second = new_id(), new_id(), new_id()
        a, b = leases(js, "a"), leases(js, "b")
        await a.take(ACCOUNT, event, first)
        with pytest.raises(Rejected):
            await b.take(ACCOUNT, event, second)
        assert await b.holder(ACCOUNT, event, first) == "lives"
        assert await b.holder(ACCOUNT, event, second) == "unknown"
        await a.take(ACCOUNT, event, second)  # its own publisher has been replaced
        await a.release(ACCOUNT, event, first)
        assert await b.holder(ACCOUNT, event, second) == "lives"
        await a.release(ACCOUNT, event, second)
        await b.take(ACCOUNT, event, first)


async def test_a_killed_instance_of_this_host_holds_nothing(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        event, session = new_id(), new_id()
        bucket, b = Bucket(lambda: js, "leases", Lease), leases(js, "b")
        left = leases(js, "a").me.model_dump() | {"pid": await asyncio.to_thread(dead_process), "session": session}
        elsewhere = Lease(**left | {"machine": "another kernel, or numbering of processes"})
        await bucket.create(f"{ACCOUNT}.{event}", elsewhere)
        assert await b.holder(ACCOUNT, event, session) == "lives"
        with pytest.raises(Rejected):
            await b.take(ACCOUNT, event, new_id())
        await bucket.change(f"{ACCOUNT}.{event}", lambda _: Lease(**left))
        assert await b.holder(ACCOUNT, event, session) == "dead"
        await b.take(ACCOUNT, event, new_id())


async def test_one_name_and_one_number_are_not_one_instance(nats: NatsServer) -> None:
    """Containers on a host's network are all process 1 of one host; a restarted one has its dead one's name, too."""
    async with connected(nats.url) as js:
        event, session = new_id(), new_id()
        a, b = leases(js, "node-1", "node"), leases(js, "node-1", "node")
        a.me = a.me.model_copy(update={"machine": "another numbering"})
        await a.take(ACCOUNT, event, session)
        assert (a.me.instance, a.me.host, a.me.pid) == (b.me.instance, b.me.host, b.me.pid)
        assert await b.holder(ACCOUNT, event, session) == "lives"
        assert await b.is_elsewhere(ACCOUNT, event)
        with pytest.raises(Rejected):
            await b.take(ACCOUNT, event, new_id())


async def test_epochs_only_rise(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        event, first, second = new_id(), new_id(), new_id()
        a, b = leases(js, "a"), leases(js, "b")
        await a.take(ACCOUNT, event, first)
        epochs = [a.epoch(ACCOUNT, event, first)]
        epochs.append(await b.claim(ACCOUNT, event, first))
        assert await a.claim(ACCOUNT, event, first) is None, "one ends a session"
        await b.unclaim(ACCOUNT, event, first)
        await Bucket(lambda: js, "leases", Lease).delete(f"{ACCOUNT}.{event}")  # as its age does
        await b.take(ACCOUNT, event, second)
        epochs.append(b.epoch(ACCOUNT, event, second))
        epochs.append(await a.claim(ACCOUNT, event, first))
        assert all(epochs)
        assert epochs == sorted(set(epochs), key=lambda epoch: epoch or 0)
        assert a.epoch(ACCOUNT, event, second) is None


async def test_a_release_after_a_takeover_leaves_the_lease_to_its_holder(nats: NatsServer) -> None:
    async with connected(nats.url) as js:
        event, mine, theirs = new_id(), new_id(), new_id()
        a, b = leases(js, "a"), leases(js, "b")
        await a.take(ACCOUNT, event, mine)
        await Bucket(lambda: js, "leases", Lease).delete(f"{ACCOUNT}.{event}")  # as its age does
        await b.take(ACCOUNT, event, theirs)
        await a.release(ACCOUNT, event, mine)
        await a.forget(ACCOUNT, event, mine)
        assert await a.holder(ACCOUNT, event, theirs) == "lives"


async def test_a_lease_that_ran_out_is_not_taken_back_from_the_next_one(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RENEW", timedelta(milliseconds=50))
    async with connected(nats.url) as js:
        event, mine, theirs, other = new_id(), new_id(), new_id(), new_id()
        a, b = leases(js, "a"), leases(js, "b")
        lost: list[str] = []
        a.on_lost(lost.append)
        bucket = Bucket(lambda: js, "leases", Lease)
        await a.take(ACCOUNT, event, mine)
        await a.take(ACCOUNT, other, new_id())
        await bucket.delete(f"{ACCOUNT}.{event}")  # as its age does, while the broker is away from one of them
        await bucket.delete(f"{ACCOUNT}.{other}")
        await b.take(ACCOUNT, event, theirs)
        async with a.renewing(), b.renewing():
            await until(lambda: asyncio.sleep(0, lost))
            await until(lambda: bucket.get(f"{ACCOUNT}.{other}"))  # nobody has taken that one
        assert lost == [mine]
        assert await a.holder(ACCOUNT, event, theirs) == "lives"


async def test_a_lost_lease_ends_the_publication(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RENEW", timedelta(milliseconds=50))
    async with connected(nats.url) as js:
        event, held = new_id(), leases(js, "a")
        made = sessions(js, SteppedClock(), LocalStore(tmp_path), held)
        made.attach(asyncio.get_running_loop())
        ticket = made.admit(AdmittedJob(ACCOUNT, event, None), "rtmp")
        ticket.publication = line = Line()
        await held.take(ACCOUNT, event, ticket.session)
        await Bucket(lambda: js, "leases", Lease).delete(f"{ACCOUNT}.{event}")  # as its age does
        await leases(js, "b").take(ACCOUNT, event, new_id())
        async with held.renewing():
            await until(lambda: asyncio.sleep(0, line.closed))
        assert ticket.stop_reason == "replaced"


def sessions(js: JetStreamContext, clock: SteppedClock, store: MediaStore, held: Leases | None = None) -> Sessions:
    held = held or leases(js, "a")
    made: Any = Sessions(records(js), held, Spy(), store, clock, lambda *_: "disconnected", "a")  # type: ignore[arg-type]  # a spy
    return made  # type: ignore[no-any-return]


class Line:
    """A publication without media."""

    closed = False

    def frames(self) -> Iterator[Batch]:
        return iter(())

    def close(self) -> None:
        self.closed = True


async def test_one_publisher_an_event_and_a_dead_line_makes_room(nats: NatsServer, tmp_path: Path) -> None:
    async with connected(nats.url) as js:
        clock = SteppedClock()
        made = sessions(js, clock, LocalStore(tmp_path))
        made.attach(asyncio.get_running_loop())
        entry = AdmittedJob(ACCOUNT, new_id(), None)
        first = made.admit(entry, "rtmp")
        first.publication = Line()
        with pytest.raises(Rejected):
            made.admit(entry, "srt")
        made.admit(AdmittedJob(ACCOUNT, new_id(), None), "srt")
        clock.pass_ms(3001)
        second = made.admit(entry, "srt")
        assert first.publication.closed
        assert first.stop_reason == "replaced"
        await asyncio.to_thread(made.serve, Line(), first)  # too late
        with pytest.raises(Rejected):
            made.admit(entry, "rtmp")
        job = JobRecord(
            account=ACCOUNT, event=entry.event, state="cancelled", created_ms=0, changed_ms=0, stream_key="",
            passphrase="",
        )  # fmt: skip
        made.job_changed(f"other.{entry.event}", job)
        assert second.stop_reason is None
        made.job_changed(f"{ACCOUNT}.{entry.event}", None)
        assert second.stop_reason == "stopped"
        await asyncio.to_thread(made.serve, Line(), second)  # stopped before it began: the event is free again
        third = made.admit(entry, "rtmp")
        await asyncio.to_thread(made.serve, Line(), third)
        await until(lambda: asyncio.sleep(0, third.session not in made.active))


def info(store: MediaStore, prefix: str, sequence: int, data: bytes = b"bytes") -> SegmentInfo:
    path = store.begin(f"{prefix}/{sequence:08d}.m4s")
    path.write_bytes(data)
    if sequence == 0:
        store.begin(f"{prefix}/init-0.mp4").write_bytes(b"init")
    return SegmentInfo(
        sequence=sequence, path=path, init_number=0, first_of_init=sequence == 0, start=sequence * 180_000,
        duration=180_000, timescale=90_000, wall_start_ms=sequence * 2000, bytes=len(data), sha256="0" * 64,
        keyframes=(sequence * 180_000,),
    )  # fmt: skip


@asynccontextmanager
async def feeding(js: JetStreamContext, store: MediaStore, spy: Spy) -> AsyncIterator[SessionFeed]:
    feed = SessionFeed(begun(new_id(), new_id()), records(js), spy, store, SteppedClock())  # type: ignore[arg-type]
    feed.started(1000, 0)
    yield feed
    feed.ended("disconnected")
    await asyncio.wait_for(feed.run(), 60)


async def test_a_segment_that_is_lost_ends_no_feed(nats: NatsServer, tmp_path: Path) -> None:
    async with connected(nats.url) as js:
        store, spy = LocalStore(tmp_path), Spy()
        async with feeding(js, store, spy) as feed:
            for sequence in range(3):
                feed.segment(info(store, feed.prefix, sequence))
            store.delete(f"{feed.prefix}/00000001.m4s")
            spy.fail = 2
        kinds = [m.sequence if isinstance(m, SegmentWritten) else m.channel for m in spy.sent]
        assert kinds == ["live.session.started", 0, 2, "live.session.ended"]


async def test_bytes_are_in_a_bucket_before_anybody_hears_of_them(nats: NatsServer, tmp_path: Path) -> None:
    with s3_server("media") as endpoint:
        store = open_store(Settings(data_dir=tmp_path, store="s3://media/reelay", s3_endpoint=endpoint))
        async with connected(nats.url) as js:
            spy = Spy()

            def look(message: Message) -> None:
                if isinstance(message, SegmentWritten):
                    assert store.get(message.init_key) == b"init"
                    assert store.get(message.key) == f"bytes of {message.sequence}".encode()

            spy.look = look
            async with feeding(js, store, spy) as feed:
                for sequence in range(3):
                    feed.segment(info(store, feed.prefix, sequence, f"bytes of {sequence}".encode()))
        assert [m.sequence for m in spy.sent if isinstance(m, SegmentWritten)] == [0, 1, 2]
        assert not [p for p in (tmp_path / "spool").rglob("*") if p.is_file()]


async def test_a_segment_of_a_session_that_went_on_is_told_at_its_epoch(nats: NatsServer, tmp_path: Path) -> None:
    """Two writers of one session's record: the one whose epoch is passed writes nothing, or takes it up again."""
    async with connected(nats.url) as js:
        store, known = LocalStore(tmp_path), records(js)
        session = begun(new_id(), new_id())
        key = f"{ACCOUNT}.{session.event}.{session.session}"
        epochs: list[int | None] = [3]
        spy = Spy()
        made = SessionFeed(session, known, spy, store, SteppedClock(), held=lambda: epochs[-1])  # type: ignore[arg-type]  # a spy
        made.started(1000, 0)
        task = asyncio.create_task(made.run())
        await until(lambda: known.sessions.get(key))
        other = made.session.model_copy(update={"epoch": 7, "ended_ms": 5000, "reason": "killed"})
        await known.sessions.change(key, lambda _: other)
        made.recheck()
        epochs.append(9)  # the lease was taken again
        await until(lambda: asyncio.sleep(0, made.session.resumed == 9))
        stored = await known.sessions.get(key)
        assert stored is not None
        assert (stored.value.epoch, stored.value.resumed, stored.value.ended_ms) == (9, 9, None)
        epochs.append(None)  # another publisher has the event now, and a third instance has ended this session
        over = stored.value.model_copy(update={"epoch": 11, "ended_ms": 6000})
        await known.sessions.change(key, lambda _: over)
        made.ended("replaced")
        await asyncio.wait_for(task, 30)
        assert [(m.channel, getattr(m, "resumed", None)) for m in spy.sent] == [
            ("live.session.started", 0), ("live.session.started", 9),
        ]  # fmt: skip
        stored = await known.sessions.get(key)
        assert stored is not None
        assert stored.value == over
