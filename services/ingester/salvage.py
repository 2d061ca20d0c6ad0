"""Ends the sessions whose ingester was killed or is gone, and publishes its written but unpublished segments."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from nats.js import JetStreamContext

from services.ingester.beside import is_copy, recover_beside
from services.ingester.feed import SessionFeed, SessionRecords
from services.ingester.leases import RENEW, Leases
from services.ingester.recorder.recover import recover
from services.ingester.status import Statuses
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.following import Following
from shared.broker.kv import Change, Stored
from shared.errors import ReelayError, Unavailable
from shared.messages.sessions import SessionRecord
from shared.recording.log import read_log
from shared.runtime.clock import Clock, to_ns
from shared.runtime.lease import is_local
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.store import MediaStore

log = get_logger()
LOOK: Final = timedelta(seconds=5)
# When a round starts this long after the previous one, this process is assumed to have stalled.
STOOD: Final = 6 * LOOK
# How long another machine that has a session's files, or a live local process without the broker, may be away before
# the session is ended.
ELSEWHERE: Final = timedelta(minutes=1)
# Twice the interval at which a holder renews its lease.
UNHELD: Final = 2 * RENEW
BEFORE_MS: Final = 60_000


class OpenSessions(Following[SessionRecord]):
    """The open sessions, by key."""

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
    """Finds open sessions that no instance holds. A second run publishes the same messages, which are dropped.

    Only a process that is surely gone writes no more. Otherwise complete files are published as they are, and the
    newest one as a copy: it may still be written (ADR 17).
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
    """When the current or last round started: time that passes during it counts in the next one."""
    sessions: OpenSessions = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = OpenSessions(self.js)

    async def run_once(self) -> None:
        """Salvage every dead session; a failure does not affect the others. Unavailable without the broker.

        A lease may be missing because the broker was unavailable: its holder then gets time to write it again. The same
        applies after this process, perhaps the whole machine, stalled: the holder was not silent then.
        """
        now_ns = self.clock.monotonic_ns()
        if now_ns - self.now_ns > to_ns(STOOD):
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
        return self.now_ns - since_ns > to_ns(ELSEWHERE if lives_here else UNHELD)

    async def _take_over(self, stored: Stored[SessionRecord], *, gone: bool) -> None:
        """End a session at an epoch of this instance, which stops its holder, if alive, from writing further.

        The record keeps naming the holder: its state decides whether the files may be truncated, even if this instance
        dies here.
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
                return  # its holder is back: it finds a higher epoch, and announces that it continues
            await self._end(claimed, folder, epoch, gone=gone)
        finally:
            await self.leases.unclaim(session.account, session.event, session.session)

    def _folder(self, session: SessionRecord) -> tuple[Path, bool]:
        """Return the folder of a session's files on this machine, and whether it is empty."""
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
        if feed.session.ended_ms is None:  # it has continued meanwhile
            return
        await Statuses(self.records.statuses).lost(session, "killed", feed.session.ended_ms)
        await self.leases.forget(session.account, session.event, session.session)
        log.warning(
            "session.salvaged", job=session.event, session=session.session, account=session.account,
            reason="killed", segments=len(found),
        )  # fmt: skip

    def _away_for_long(self, session: SessionRecord) -> bool:
        since_ns = self.missing_since_ns.setdefault(session.session, self.now_ns)
        return self.now_ns - since_ns > to_ns(ELSEWHERE)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Salvage once before the block, then every 5 s while it runs."""
        await self._try()
        async with beside(self._repeat()):
            yield

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(LOOK.total_seconds())
            await self._try()

    async def _try(self) -> None:
        try:
            await self.run_once()
        except Unavailable as error:
            log.info("salvage.later", error=str(error))
