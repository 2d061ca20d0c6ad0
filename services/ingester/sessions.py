"""The sessions of this instance: admission, recording and end."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from services.ingester.access import AdmittedJob
from services.ingester.feed import SessionFeed, SessionRecords
from services.ingester.holders import SILENCE
from services.ingester.leases import Leases
from services.ingester.permits import Permit, Permits
from services.ingester.publication import Publication
from services.ingester.recorder.stats import PublisherStats
from services.ingester.refusals import PublishRefused, later, taken
from services.ingester.status import Monitor, Statuses
from shared.broker.bus import Outbox
from shared.errors import ReelayError, Rejected, Unavailable
from shared.messages.jobs import JobRecord
from shared.messages.live import EndReason
from shared.messages.live import Protocol as IngestProtocol
from shared.messages.sessions import SessionRecord
from shared.runtime.clock import Clock, to_ns
from shared.runtime.logging import bound, get_logger
from shared.runtime.tasks import beside
from shared.store import MediaStore

log = get_logger()
HALF_OPEN: Final = timedelta(seconds=3)
OPENING: Final = timedelta(seconds=10)
ELSEWHERE: Final = SILENCE + timedelta(seconds=1)


@dataclass(eq=False, slots=True)
class Ticket:
    """Permission for one publisher to start a session."""

    entry: AdmittedJob
    protocol: IngestProtocol
    heard_ns: Callable[[], int]
    session: str = field(default_factory=lambda: uuid.uuid4().hex)
    publication: Publication | None = None
    stop_reason: EndReason | None = None
    stats: PublisherStats = field(default_factory=PublisherStats)
    permit: Permit | None = None
    refusal: PublishRefused | None = None
    """Why the publisher was refused after admission."""

    @property
    def fields(self) -> dict[str, str]:
        """The fields of every log line of the publisher."""
        return {"job": self.entry.event, "session": self.session, "account": self.entry.account}


Record = Callable[[Publication, SessionFeed, Ticket], EndReason]


class Sessions:
    """Admits publishers, one per event, and runs a session in each publication's thread."""

    def __init__(
        self,
        records: SessionRecords,
        leases: Leases,
        outbox: Outbox,
        store: MediaStore,
        clock: Clock,
        record: Record,
        instance: str,
    ) -> None:
        self._permits: Permits | None = None
        self._records = records
        self._leases = leases
        self._outbox = outbox
        self._store = store
        self._clock = clock
        self._record = record
        self._statuses = Statuses(records.statuses)
        self._instance = instance
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}  # by event
        self._feeds: set[asyncio.Task[None]] = set()
        self._open_feeds: dict[str, SessionFeed] = {}  # by session
        self._publishing: frozenset[str] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop, permits: Permits | None = None) -> None:
        """Set the event loop that publishes, and who asks again whether publishers may go on."""
        self._loop, self._permits = loop, permits
        self._leases.on_lost(self._lost)
        self._leases.on_back(self._back)

    @property
    def active(self) -> frozenset[str]:
        """The sessions of this instance, including those whose last segments are still being published."""
        with self._lock:
            return frozenset(ticket.session for ticket in self._tickets.values()) | self._publishing

    def admit(self, entry: AdmittedJob, protocol: IngestProtocol, permit: Permit | None = None) -> Ticket:
        """Admit a publisher; PublishRefused while another one publishes to the event.

        A publisher that has been silent for 3 s counts as a dead connection and is replaced.
        """
        now_ns = self._clock.monotonic_ns()
        ticket = Ticket(entry, protocol, heard_ns=lambda: now_ns, permit=permit)
        with self._lock:
            other = self._tickets.get(entry.event)
            if other and not self._is_half_open(other):
                raise taken()
            self._tickets[entry.event] = ticket
        if other:
            log.info("session.replaced", **other.fields, by=ticket.session)
            self._stop(other, "replaced")
        return ticket

    def check(self, entry: AdmittedJob) -> None:
        """Raise what `admit` would, but change nothing: it is not known yet whether the caller has the passphrase."""
        with self._lock:
            other = self._tickets.get(entry.event)
            if other and not self._is_half_open(other):
                raise taken()

    def check_elsewhere(self, entry: AdmittedJob) -> None:
        """Raise PublishRefused when another instance holds the event; pass when the broker is unavailable."""
        if self._loop is None:
            return
        future = asyncio.run_coroutine_threadsafe(self._leases.is_elsewhere(entry.account, entry.event), self._loop)
        try:
            elsewhere = future.result(ELSEWHERE.total_seconds())
        except (Unavailable, FutureTimeoutError):
            future.cancel()
            return
        if elsewhere:
            raise taken()

    def _is_half_open(self, ticket: Ticket) -> bool:
        silent_ns = self._clock.monotonic_ns() - ticket.heard_ns()
        return silent_ns > to_ns(HALF_OPEN)

    def withdraw(self, ticket: Ticket) -> None:
        """Release the event for another publisher."""
        with self._lock:
            if self._tickets.get(ticket.entry.event) is ticket:
                del self._tickets[ticket.entry.event]

    def serve(self, publication: Publication, ticket: Ticket) -> None:
        """Run the session in the publication's thread, from admission to end."""
        with bound(**ticket.fields):
            self._serve(publication, ticket)

    def _serve(self, publication: Publication, ticket: Ticket) -> None:
        ticket.publication = publication
        if ticket.stop_reason:  # replaced or stopped before it started
            self.withdraw(ticket)
            return
        try:
            feed = self._call(self._open(ticket, publication))
        except (ReelayError, FutureTimeoutError) as error:
            log.warning("session.refused", error=str(error) or "no answer")
            ticket.refusal = error if isinstance(error, PublishRefused) else later()
            self.withdraw(ticket)
            return
        reason: EndReason = "bad_media"
        try:
            reason = self._record(publication, feed, ticket)
        finally:
            feed.ended(ticket.stop_reason or reason)
            self.withdraw(ticket)

    async def _open(self, ticket: Ticket, publication: Publication) -> SessionFeed:
        """Take the event's lease and start publishing; Rejected while another instance holds it."""
        entry = ticket.entry
        await self._leases.take(entry.account, entry.event, ticket.session)
        session = SessionRecord(
            account=entry.account, event=entry.event, session=ticket.session, protocol=ticket.protocol,
            instance=self._instance, holder=self._leases.me, first_frame_ms=0, origin_ms=0,
        )  # fmt: skip
        held = partial(self._leases.epoch, entry.account, entry.event, ticket.session)
        feed = SessionFeed(session, self._records, self._outbox, self._store, self._clock, held=held)
        monitor = Monitor(session, publication, ticket.stats, self._clock)
        task = asyncio.create_task(self._publish(feed, monitor, ticket), name=f"feed-{ticket.session}")
        self._feeds.add(task)
        task.add_done_callback(self._feeds.discard)
        log.info("session.opened", **ticket.fields, protocol=ticket.protocol)
        return feed

    async def _publish(self, feed: SessionFeed, monitor: Monitor, ticket: Ticket) -> None:
        """Publish until the session ends; the task has the log fields of the publication's thread."""
        self._publishing |= {feed.session.session}
        self._open_feeds[feed.session.session] = feed
        try:
            async with beside(self._statuses.follow(monitor)), beside(self._follow_permit(ticket)):
                await feed.run()
        finally:
            self._publishing -= {feed.session.session}
            del self._open_feeds[feed.session.session]
        session = feed.session
        await self._leases.release(session.account, session.event, session.session)
        reason = feed.reason or "disconnected"
        log.info("session.closed", reason=reason, recorded=bool(session.first_frame_ms), segments=session.segments)
        await self._statuses.close(monitor, reason)

    async def _follow_permit(self, ticket: Ticket) -> None:
        if self._permits is not None and ticket.permit is not None:
            await self._permits.follow(ticket.permit, lambda: self._stop(ticket, "stopped"))

    def job_changed(self, key: str, job: JobRecord | None) -> None:
        """End the session of a job that is deleted or takes no publisher any more (key `<account>.<event>`)."""
        if job is not None and job.accepts_publisher:
            return
        account, _, event = key.partition(".")
        with self._lock:
            ticket = self._tickets.get(event)
        if ticket and ticket.entry.account == account:
            self._stop(ticket, "stopped")

    def end_all(self, reason: EndReason) -> None:
        """End all sessions; their recordings are kept and published."""
        with self._lock:
            tickets = [ticket for ticket in self._tickets.values() if ticket.stop_reason is None]
        for ticket in tickets:
            log.info("session.ending", **ticket.fields, reason=reason)
            self._stop(ticket, reason)

    def _back(self, session: str) -> None:
        if feed := self._open_feeds.get(session):
            feed.recheck()

    def _lost(self, session: str) -> None:
        with self._lock:
            ticket = next((t for t in self._tickets.values() if t.session == session), None)
        if ticket:
            self._stop(ticket, "replaced")

    def _stop(self, ticket: Ticket, reason: EndReason) -> None:
        ticket.stop_reason = reason
        if ticket.publication is not None:
            ticket.publication.close()

    async def drain(self, patience: timedelta) -> bool:
        """End all sessions and publish their recordings; return False when the broker did not take them in time."""
        self.end_all("stopped")
        if not self._feeds:
            return True
        _, waiting = await asyncio.wait(self._feeds, timeout=patience.total_seconds())
        return not waiting

    def _call(self, work: Coroutine[Any, Any, SessionFeed]) -> SessionFeed:
        if self._loop is None:
            work.close()
            raise Rejected("the ingester is starting")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(OPENING.total_seconds())
        except FutureTimeoutError:
            future.cancel()  # otherwise it would open a session that is never ended
            raise
