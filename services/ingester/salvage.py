"""Ends the sessions whose ingester was killed, and publishes what it had written and not yet published."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nats.js import JetStreamContext

from services.ingester.feed import Feed, Records
from services.ingester.leases import RENEW_S, Leases
from services.ingester.recorder.recover import recover
from services.ingester.status import Statuses
from shared.bus import Outbox
from shared.clock import Clock
from shared.errors import ReelayError, Unavailable
from shared.logging import get_logger
from shared.messages.jobs import SessionRecord
from shared.recording.log import read_log
from shared.store import MediaStore
from shared.tasks import beside

log = get_logger()
LOOK_S: Final = 5.0
# A session whose files are on another machine is ended once that machine has been away for so long.
ELSEWHERE_S: Final = 60.0
# Twice the time in which a holder writes its lease again.
UNHELD_S: Final = 2 * RENEW_S
BEFORE_MS: Final = 60_000


@dataclass(slots=True)
class Salvage:
    """Looks for open sessions that nobody holds. Doing it twice publishes the same messages, which are dropped."""

    js: Callable[[], JetStreamContext]
    records: Records
    leases: Leases
    outbox: Outbox
    store: MediaStore
    clock: Clock
    ours: Callable[[], frozenset[str]]
    missing_since_ns: dict[str, int] = field(default_factory=dict)
    unheld_since_ns: dict[str, int] = field(default_factory=dict)
    open: dict[str, SessionRecord] = field(default_factory=dict)
    seen: int = 0

    async def run_once(self, *, first: bool = False) -> None:
        """Salvage every dead session that can be; one that cannot hinders no other.

        A lease may be missing because the broker was away: then its holder gets the time to write it again, except at
        this instance's start, when the dead one was most likely itself.
        """
        await self._refresh()
        for session in list(self.open.values()):
            if session.session in self.ours():
                continue
            try:
                if await self._is_dead(session, first=first):
                    await self._end(session)
            except (ReelayError, OSError) as error:
                log.error("salvage.failed", session=session.session, error=f"{type(error).__name__}: {error}")

    async def _refresh(self) -> None:
        """Bring `open` up to date: all that is in the bucket is read once, then what has been written since."""
        last = await self.records.sessions.last_revision()
        if last < self.seen:  # another broker, or an older state of this one
            self.open, self.seen = {}, 0
        if last == self.seen:
            return
        async for changes in self.records.sessions.changes("*.*.*", self.seen):
            for change in changes:
                self.open.pop(change.key, None)
                if change.value is not None and change.value.ended_ms is None:
                    self.open[change.key] = change.value
                self.seen = max(self.seen, change.revision)
        self.seen = max(self.seen, last)

    async def _is_dead(self, session: SessionRecord, *, first: bool) -> bool:
        holder = await self.leases.holder(session.account, session.event, session.session)
        if holder != "unknown":
            self.unheld_since_ns.pop(session.session, None)
            return holder == "dead"
        now_ns = self.clock.monotonic_ns()
        since = self.unheld_since_ns.setdefault(session.session, now_ns)
        return first or now_ns - since > UNHELD_S * 1e9

    async def _end(self, session: SessionRecord) -> None:
        feed = Feed(session, self.records, self.outbox, self.store, self.clock, recovered=True)
        folder = self.store.begin(f"{feed.prefix}/x").parent
        if not any(folder.iterdir()) and not self._away_for_long(session):
            return
        known = await read_log(
            self.js(), session.account, session.event, since_ms=max(session.first_frame_ms - BEFORE_MS, 0)
        )
        published = [entry.segment.sequence for entry in known if entry.segment.session == session.session]
        found = await asyncio.to_thread(recover, Path(folder), max(published, default=-1))
        feed.session = session.model_copy(update={"segments": len(published)})
        feed.started(session.first_frame_ms, session.lead)
        for info in found:
            feed.segment(info)
        feed.ended("killed")
        await feed.run()
        await Statuses(self.records.statuses).lost(session, "killed", feed.session.ended_ms or self.clock.now_ms())
        self.missing_since_ns.pop(session.session, None)
        self.unheld_since_ns.pop(session.session, None)
        await self.leases.forget(session.account, session.event, session.session)
        log.warning(
            "session.salvaged", job=session.event, session=session.session, account=session.account,
            reason="killed", segments=len(found),
        )  # fmt: skip

    def _away_for_long(self, session: SessionRecord) -> bool:
        now_ns = self.clock.monotonic_ns()
        since = self.missing_since_ns.setdefault(session.session, now_ns)
        return now_ns - since > ELSEWHERE_S * 1e9

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Salvage once before the block, then every 5 s while it runs."""
        await self._try(first=True)
        async with beside(self._repeat()):
            yield

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._try()

    async def _try(self, *, first: bool = False) -> None:
        try:
            await self.run_once(first=first)
        except Unavailable as error:
            log.info("salvage.later", error=str(error))
