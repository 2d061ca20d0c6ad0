"""Ends the sessions whose ingester was killed or is away, and publishes what it had written and not yet published."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nats.js import JetStreamContext

from services.ingester.beside import is_copy, recover_beside
from services.ingester.feed import SessionFeed, SessionRecords
from services.ingester.leases import RENEW_S, Leases
from services.ingester.recorder.recover import recover
from services.ingester.status import Statuses
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.following import Following
from shared.broker.kv import Change, Stored
from shared.errors import ReelayError, Unavailable
from shared.messages.sessions import SessionRecord
from shared.recording.log import read_log
from shared.runtime.clock import Clock
from shared.runtime.lease import is_local
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.store import MediaStore

log = get_logger()
LOOK_S: Final = 5.0
# So long after the look before, this process is taken to have stood still.
STOOD_S: Final = 6 * LOOK_S
# A session whose files are on another machine is ended once that machine has been away for so long, and so is one whose
# process lives here, but has not reached the broker.
ELSEWHERE_S: Final = 60.0
# Twice the time in which a holder writes its lease again.
UNHELD_S: Final = 2 * RENEW_S
BEFORE_MS: Final = 60_000


class OpenSessions(Following[SessionRecord]):
    """The sessions that have not ended, by key."""

    pattern = "*.*.*"

    def __init__(self, js: Callable[[], JetStreamContext]) -> None:
        super().__init__(js, buckets.SESSIONS, SessionRecord)
        self.stored: dict[str, Stored[SessionRecord]] = {}

    def _forget(self) -> None:
        self.stored.clear()

    def _take(self, change: Change[SessionRecord]) -> None:
        self.stored.pop(change.key, None)
        if change.value is not None and change.value.ended_ms is None:
            self.stored[change.key] = Stored(change.key, change.value, change.revision)


@dataclass(slots=True)
class Salvage:
    """Looks for open sessions that nobody holds. Doing it twice publishes the same messages, which are dropped.

    Only a process that is gone for sure writes no more. Of another's files, whole ones are published as they are, and
    of the newest a copy: it may be the one being written (ADR 17).
    """

    js: Callable[[], JetStreamContext]
    records: SessionRecords
    leases: Leases
    outbox: Outbox
    store: MediaStore
    clock: Clock
    ours: Callable[[], frozenset[str]]
    missing_since_ns: dict[str, int] = field(default_factory=dict)
    unheld_since_ns: dict[str, int] = field(default_factory=dict)
    now_ns: int = 0
    """When the look began that is made, or was made last: what passes meanwhile counts with the next one."""
    sessions: OpenSessions = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = OpenSessions(self.js)

    async def run_once(self) -> None:
        """Salvage every dead session that can be; one that cannot hinders no other. Unavailable: nothing is known.

        A lease may be missing because the broker was away: then its holder gets the time to write it again. So it does
        when this process stood still, perhaps with the whole machine: that was no silence of the holder's.
        """
        now_ns = self.clock.monotonic_ns()
        if now_ns - self.now_ns > STOOD_S * 1e9:
            self._wait_anew()
        self.now_ns = now_ns
        try:
            await self.sessions.refresh()
        except Unavailable:
            self._wait_anew()
            raise
        for stored in list(self.sessions.stored.values()):
            session = stored.value
            if session.session in self.ours():
                continue
            try:
                await self._look(stored)
            except (ReelayError, OSError) as error:
                log.error("salvage.failed", session=session.session, error=f"{type(error).__name__}: {error}")

    def _wait_anew(self) -> None:
        self.unheld_since_ns.clear()
        self.missing_since_ns.clear()

    async def _look(self, stored: Stored[SessionRecord]) -> None:
        session = stored.value
        holder = await self.leases.holder(session.account, session.event, session.session)
        if holder == "lives":
            self.unheld_since_ns.pop(session.session, None)
            self.missing_since_ns.pop(session.session, None)
            return
        gone = holder == "dead" or (session.holder is not None and self.leases.is_dead(session.holder))
        if gone or self._unheld_for_long(session):
            await self._take_over(stored, gone=gone)

    def _unheld_for_long(self, session: SessionRecord) -> bool:
        since_ns = self.unheld_since_ns.setdefault(session.session, self.now_ns)
        lives_here = session.holder is not None and is_local(session.holder)
        return self.now_ns - since_ns > (ELSEWHERE_S if lives_here else UNHELD_S) * 1e9

    async def _take_over(self, stored: Stored[SessionRecord], *, gone: bool) -> None:
        """End a session at an epoch of this instance's own, which keeps its holder, should it live, from writing on.

        The record goes on naming the holder: whether its files may be cut is asked of it, also when this one dies here.
        """
        session = stored.value
        folder, empty = await asyncio.to_thread(self._folder, session)
        if empty and not self._away_for_long(session):
            return
        epoch = await self.leases.claim(session.account, session.event, session.session)
        if epoch is None:
            return
        try:
            claimed = session.model_copy(update={"epoch": epoch})
            await self.records.sessions.replace(stored, claimed)
            if not gone and await self.leases.holder(session.account, session.event, session.session) != "unknown":
                return  # its holder is back: it finds the epoch passed, and says that it goes on
            await self._end(claimed, folder, epoch, gone=gone)
        finally:
            await self.leases.unclaim(session.account, session.event, session.session)

    def _folder(self, session: SessionRecord) -> tuple[Path, bool]:
        """Return where a session's files lie on this machine, and whether there are none."""
        folder = self.store.begin(f"live/{session.event}/{session.session}/{session.track}/x").parent
        return folder, not any(folder.iterdir())

    async def _end(self, session: SessionRecord, folder: Path, epoch: int, *, gone: bool) -> None:
        feed = SessionFeed(
            session, self.records, self.outbox, self.store, self.clock, recovered=True, held=lambda: epoch
        )
        known = await read_log(
            self.js(), session.account, session.event, since_ms=max(session.first_frame_ms - BEFORE_MS, 0)
        )
        published = [
            entry.segment.sequence
            for entry in known
            if entry.segment.session == session.session and not is_copy(entry.segment.key)
        ]
        last = max(published, default=-1)
        found = await asyncio.to_thread(recover if gone else recover_beside, folder, last)
        feed.session = session.model_copy(update={"segments": len(published)})
        feed.started(session.first_frame_ms, session.lead)
        for info in found:
            feed.segment(info)
        feed.ended("killed")
        await feed.run()
        self.missing_since_ns.pop(session.session, None)
        self.unheld_since_ns.pop(session.session, None)
        if feed.session.ended_ms is None:  # it went on meanwhile
            return
        await Statuses(self.records.statuses).lost(session, "killed", feed.session.ended_ms)
        await self.leases.forget(session.account, session.event, session.session)
        log.warning(
            "session.salvaged", job=session.event, session=session.session, account=session.account,
            reason="killed", segments=len(found),
        )  # fmt: skip

    def _away_for_long(self, session: SessionRecord) -> bool:
        since_ns = self.missing_since_ns.setdefault(session.session, self.now_ns)
        return self.now_ns - since_ns > ELSEWHERE_S * 1e9

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Salvage once before the block, then every 5 s while it runs."""
        await self._try()
        async with beside(self._repeat()):
            yield

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.run_once()
        except Unavailable as error:
            log.info("salvage.later", error=str(error))
