"""Sessions that are over cost the ingester's look for dead ones nothing, however many there are."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nats.js import JetStreamContext

from services.ingester.salvage import Salvage
from shared.messages.sessions import SessionRecord
from shared.store.local import LocalStore
from tests.integration.ingester.test_sessions_leases import ACCOUNT, Spy, begun, leases, records
from tests.support.media_recording import SteppedClock
from tests.support.nats import NatsServer
from tests.support.recordings import connected
from tests.support.shared_bus import new_id

MANY = 400


def salvage_of(js: JetStreamContext, spy: Spy, folder: Path) -> Salvage:
    known, ours = records(js), leases(js, "b")
    return Salvage(lambda: js, known, ours, spy, LocalStore(folder), SteppedClock(), frozenset)  # type: ignore[arg-type]  # a spy for the broker


def over(session: SessionRecord) -> SessionRecord:
    return session.model_copy(update={"ended_ms": 2000, "reason": "disconnected"})


def key(session: SessionRecord) -> str:
    return f"{ACCOUNT}.{session.event}.{session.session}"


async def test_a_look_reads_what_has_changed_and_no_session_that_is_over(nats: NatsServer, tmp_path: Path) -> None:
    async with connected(nats.url) as js:
        known, salvage = records(js), salvage_of(js, Spy(), tmp_path)
        ended = [over(begun(new_id(), new_id())) for _ in range(MANY)]
        await asyncio.gather(*(known.sessions.create(key(s), s) for s in ended))
        opened = [begun(new_id(), new_id()) for _ in range(3)]
        for session in opened:
            await leases(js, "a").take(ACCOUNT, session.event, session.session)
            await known.sessions.create(key(session), session)
        await salvage.run_once()
        found = {stored.value.session for stored in salvage.sessions.stored.values()}
        assert {s.session for s in opened} <= found
        assert not found & {s.session for s in ended}
        stats = js._nc.stats
        before = stats["in_msgs"]
        await salvage.run_once()
        quiet = stats["in_msgs"] - before
        assert quiet < 3 * len(found) + 10, f"{quiet} answers of the broker, with {MANY} sessions over"
        one, *others = opened
        await known.sessions.change(key(one), lambda _: over(one))
        late = begun(new_id(), new_id())
        await known.sessions.create(key(late), late)
        before = stats["in_msgs"]
        await salvage.run_once()
        assert stats["in_msgs"] - before < quiet + 20
        found = {stored.value.session for stored in salvage.sessions.stored.values()}
        assert {s.session for s in (late, *others)} <= found
        assert one.session not in found


async def test_a_bucket_that_was_set_back_is_read_anew(nats: NatsServer, tmp_path: Path) -> None:
    async with connected(nats.url) as js:
        known, salvage = records(js), salvage_of(js, Spy(), tmp_path)
        first, second = begun(new_id(), new_id()), begun(new_id(), new_id())
        for _ in range(3):
            await known.sessions.change(key(first), lambda _: first)
        await salvage.run_once()
        config = (await js.stream_info("KV_sessions")).config
        await js.delete_stream("KV_sessions")
        await js.add_stream(config)
        await known.sessions.create(key(second), second)
        await salvage.run_once()
        assert set(salvage.sessions.stored) == {key(second)}
