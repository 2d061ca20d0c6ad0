"""Who ends a session of another, when, and what becomes of its files."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from services.ingester.beside import is_copy, recover_beside
from services.ingester.leases import RENEW, Leases
from services.ingester.salvage import Salvage
from shared.messages.base import Message
from shared.store.local import LocalStore
from tests.support.media_recording import Recorded, SteppedClock, pieces
from tests.support.media_streams import encode
from tests.support.nats import NatsServer
from tests.support.recordings import connected
from tests.support.sessions_parts import ACCOUNT, Spy, begun, dead_process, leases, records
from tests.support.shared_bus import new_id


async def test_a_session_without_a_lease_gets_the_time_to_write_it_again(nats: NatsServer, tmp_path: Path) -> None:
    """After an outage of the broker all leases are gone; the holders of open sessions live."""
    async with connected(nats.url) as js:
        event, session = new_id(), new_id()
        clock, spy, known = SteppedClock(), Spy(), records(js)
        await known.sessions.create(f"{ACCOUNT}.{event}.{session}", begun(session, event))
        a, b = leases(js, "a"), leases(js, "b")
        store = LocalStore(tmp_path)
        salvage = Salvage(lambda: js, known, b, spy, store, clock, frozenset)  # type: ignore[arg-type]
        store.put(f"live/{event}/{session}/primary-1/something", b"")
        await salvage.run_once()
        assert not spy.sent
        await a.take(ACCOUNT, event, session)
        clock.pass_ms(60_000)
        await salvage.run_once()
        assert not spy.sent
        await a.release(ACCOUNT, event, session)
        await salvage.run_once()
        assert not spy.sent
        clock.pass_ms(2 * RENEW // timedelta(milliseconds=1) + 1)
        await salvage.run_once()
        assert [message.channel for message in spy.sent] == ["live.session.started", "live.session.ended"]


@pytest.mark.parametrize("lives_here", [True, False])
async def test_the_time_in_which_a_salvager_stood_still_is_not_a_writers_silence(
    nats: NatsServer, tmp_path: Path, lives_here: bool
) -> None:
    """A machine is frozen, with the writer or without, just as the leases are missing."""
    async with connected(nats.url) as js:
        event, session, clock, spy, known = new_id(), new_id(), SteppedClock(), Spy(), records(js)
        writer, store = leases(js, "a"), LocalStore(tmp_path)
        if not lives_here:
            writer.me = writer.me.model_copy(update={"machine": "another numbering"})
        record = begun(session, event).model_copy(update={"holder": writer.me})
        await known.sessions.create(f"{ACCOUNT}.{event}.{session}", record)
        salvage = Salvage(lambda: js, known, leases(js, "b"), spy, store, clock, frozenset)  # type: ignore[arg-type]
        store.put(f"live/{event}/{session}/primary-1/something", b"")
        await salvage.run_once()
        clock.pass_ms(61_000)
        await salvage.run_once()
        assert not spy.sent, "the writer has been awake as little"
        for _ in range(13 if lives_here else 3):
            clock.pass_ms(5_000)
            await salvage.run_once()
        assert [message.channel for message in spy.sent] == ["live.session.started", "live.session.ended"]


async def test_a_writer_with_another_disk_that_came_back_has_its_time_anew(nats: NatsServer, tmp_path: Path) -> None:
    async with connected(nats.url) as js:
        event, session, clock, spy, known = new_id(), new_id(), SteppedClock(), Spy(), records(js)
        writer, store = leases(js, "a"), LocalStore(tmp_path)
        await known.sessions.create(f"{ACCOUNT}.{event}.{session}", begun(session, event))
        salvage = Salvage(lambda: js, known, leases(js, "b"), spy, store, clock, frozenset)  # type: ignore[arg-type]

        async def look(times: int) -> None:
            for _ in range(times):
                await salvage.run_once()
                clock.pass_ms(5_000)

        await look(5)  # away for 25 s
        await writer.take(ACCOUNT, event, session)
        await look(12)
        await writer.release(ACCOUNT, event, session)
        await look(12)
        assert not spy.sent, "away for less than 60 s"
        await look(5)
        assert [message.channel for message in spy.sent] == ["live.session.started", "live.session.ended"]


async def test_a_salvager_that_is_killed_leaves_a_writer_that_may_live_its_files(
    nats: NatsServer, tmp_path: Path
) -> None:
    """The writer is frozen, and without a lease; another ingester is killed while it ends the session."""
    async with connected(nats.url) as js:
        event, session, clock, known = new_id(), new_id(), SteppedClock(), records(js)
        store, writer, killed = LocalStore(tmp_path), leases(js, "a"), leases(js, "b")
        writer.me = writer.me.model_copy(update={"machine": "another numbering"})
        killed.me = killed.me.model_copy(update={"pid": await asyncio.to_thread(dead_process)})
        folder = store.begin(f"live/{event}/{session}/primary-1/x").parent
        Recorded(folder).run("flv", pieces(encode(tmp_path / "source.flv", seconds=5, gop=30).read_bytes()))
        newest = max(folder.glob("*.m4s"))
        newest.write_bytes(newest.read_bytes()[:-10])  # its last part is being written
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        record = begun(session, event).model_copy(update={"holder": writer.me})
        await known.sessions.create(f"{ACCOUNT}.{event}.{session}", record)

        def salvage(held: Leases, spy: Spy) -> Salvage:
            return Salvage(lambda: js, known, held, spy, store, clock, frozenset)  # type: ignore[arg-type]

        def die(_message: Message) -> None:
            raise KeyError("killed")

        first, second = Spy(), Spy()
        first.look = die
        before, after = salvage(killed, first), salvage(leases(js, "c"), second)
        await before.run_once()
        clock.pass_ms(2 * RENEW // timedelta(milliseconds=1) + 1)
        with pytest.raises(KeyError):
            await before.run_once()
        await after.run_once()
        assert not second.sent, "the writer gets its time anew"
        await writer.take(ACCOUNT, event, session)
        clock.pass_ms(60_000)
        await after.run_once()
        assert not second.sent, "its lease says that it lives"
        await writer.release(ACCOUNT, event, session)
        await after.run_once()
        clock.pass_ms(2 * RENEW // timedelta(milliseconds=1) + 1)
        await after.run_once()
        assert [m.channel for m in second.sent][-1] == "live.session.ended"
        assert {name: (folder / name).read_bytes() for name in files} == files


def test_a_writer_that_may_live_is_salvaged_beside(tmp_path: Path) -> None:
    source = tmp_path / "made"
    Recorded(source).run("flv", pieces(encode(tmp_path / "source.flv", seconds=9, gop=30).read_bytes()))
    whole = {path.name: path.read_bytes() for path in source.glob("*.m4s")}
    newest = source / max(whole)
    newest.write_bytes(whole[newest.name][:-10])  # its last part is being written
    torn = newest.read_bytes()
    found = recover_beside(source)
    assert [info.sequence for info in found] == list(range(len(whole)))
    assert newest.read_bytes() == torn
    assert is_copy(f"live/{found[-1].path.name}")
    assert found[-1].path.stat().st_size == found[-1].bytes < len(torn)
    assert [info.path.name for info in found[:-1]] == sorted(whole)[:-1]
    assert not [path for path in source.iterdir() if path.is_dir()]
    again = recover_beside(source, found[-2].sequence)
    assert [(info.path, info.sha256) for info in again] == [(found[-1].path, found[-1].sha256)]
