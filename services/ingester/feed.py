"""Publishes what one session records, in order, with retries for as long as the broker is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple

from pydantic import ValidationError

from services.ingester.recorder.model import SegmentInfo
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket, Conflict, Stored
from shared.errors import Permanent, Transient, Unavailable
from shared.messages.live import EndReason, SessionEnded, SessionStarted, SessionWarned
from shared.messages.media import SegmentWritten
from shared.messages.sessions import EventClock, PublisherStatus, SessionRecord, clock_key
from shared.runtime.clock import Clock
from shared.runtime.lease import EpochPassed
from shared.runtime.logging import get_logger
from shared.store import MediaStore

log = get_logger()
FIRST_PAUSE: Final = timedelta(milliseconds=200)
LONGEST_PAUSE: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class SessionRecords:
    """The buckets with the ingester's session records."""

    sessions: Bucket[SessionRecord]
    clocks: Bucket[EventClock]
    statuses: Bucket[PublisherStatus]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A publisher's tracks that cannot be recorded; `recorded`: its other tracks are recorded."""

    tracks: tuple[str, ...]
    recorded: bool


class Started(NamedTuple):
    """The wall clock (ms) of a session's first frame, and its tick."""

    first_frame_ms: int
    lead: int


class Recheck:
    """The session's lease expired and was taken again; the session may have been declared over meanwhile."""


class SessionFeed:
    """The queue from a session's thread to the broker. It holds a few hundred bytes per unpublished segment.

    `held` returns the epoch of the session's lease, None when another instance has it. A record with a higher epoch
    belongs to another instance; when the lease is held again, the session announces that it continues, and writes
    its record again (ADR 17).
    """

    def __init__(
        self,
        session: SessionRecord,
        records: SessionRecords,
        outbox: Outbox,
        store: MediaStore,
        clock: Clock,
        *,
        recovered: bool = False,
        held: Callable[[], int | None] = lambda: 0,
    ) -> None:
        self._recovered = recovered
        self._held = held
        self.session = session
        self._records = records
        self._outbox = outbox
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.reason: EndReason | None = None
        self._waiting: asyncio.Queue[SegmentInfo | Unsupported | EndReason | Started | Recheck] = asyncio.Queue()

    @property
    def prefix(self) -> str:
        """The store's folder of this session and track."""
        return f"live/{self.session.event}/{self.session.session}/{self.session.track}"

    def started(self, first_frame_ms: int, lead: int) -> None:
        """Queue the first frame's wall clock (ms) and tick; from any thread, before the first segment."""
        self._loop.call_soon_threadsafe(self._waiting.put_nowait, Started(first_frame_ms, lead))

    def segment(self, info: SegmentInfo) -> None:
        """Queue a complete segment; from any thread."""
        self._loop.call_soon_threadsafe(self._waiting.put_nowait, info)

    def warned(self, tracks: tuple[str, ...], *, recorded: bool) -> None:
        """Queue a warning of tracks that cannot be recorded; from any thread."""
        self._loop.call_soon_threadsafe(self._waiting.put_nowait, Unsupported(tracks, recorded))

    def recheck(self) -> None:
        """Queue a check whether the session was declared over; in the loop's thread."""
        self._waiting.put_nowait(Recheck())

    def ended(self, reason: EndReason) -> None:
        """Queue the session's end; from any thread."""
        self._loop.call_soon_threadsafe(self._waiting.put_nowait, reason)

    async def run(self) -> None:
        """Publish until the end has been published."""
        while True:
            item = await self._waiting.get()
            if isinstance(item, SegmentInfo):
                await self._insist(partial(self._publish, item))
            elif isinstance(item, Started):
                await self._insist(partial(self._start, item))
            elif isinstance(item, Unsupported):
                await self._insist(partial(self._warn, item))
            elif isinstance(item, Recheck):
                await self._insist(self._own)
            else:
                self.reason = item
                await self._insist(partial(self._end, item))
                return

    async def _insist(self, what: Callable[[], Awaitable[object]]) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await what()
            except (Permanent, ValidationError) as error:  # this item is lost; the next ones must not be
                log.error("feed.lost", session=self.session.session, error=f"{type(error).__name__}: {error}")
                return
            except Transient as error:
                log.warning(
                    "feed.waiting", session=self.session.session, error=str(error), waiting=self._waiting.qsize()
                )
                await asyncio.sleep(pause.total_seconds())
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return

    async def _start(self, began: Started) -> None:
        first_frame_ms, lead = began
        zero = await event_zero(self._records.clocks, self.session, first_frame_ms)
        known = {"first_frame_ms": first_frame_ms, "origin_ms": max(first_frame_ms - zero, 0), "lead": lead}
        self.session = self.session.model_copy(update=known)
        await self._save()
        await self._outbox.emit(
            SessionStarted(
                account=self.session.account, event=self.session.event, session=self.session.session,
                protocol=self.session.protocol, at_ms=first_frame_ms, origin_ms=self.session.origin_ms,
                resumed=self.session.resumed,
            )
        )  # fmt: skip

    async def _publish(self, info: SegmentInfo) -> None:
        if info.sequence == 0 and info.keyframes:
            self.session = self.session.model_copy(update={"zero": info.keyframes[0]})
            await self._save()
        key = f"{self.prefix}/{info.path.name}"
        init_key = f"{self.prefix}/init-{info.init_number}.mp4"
        if info.first_of_init:
            await asyncio.to_thread(self._store.commit, init_key)
        await asyncio.to_thread(self._store.commit, key)
        await self._outbox.emit(segment_message(self.session, info, key, init_key, recovered=self._recovered))
        self.session = self.session.model_copy(
            update={"segments": self.session.segments + 1, "bytes": self.session.bytes + info.bytes}
        )

    async def _warn(self, found: Unsupported) -> None:
        session = self.session
        await self._outbox.emit(
            SessionWarned(
                account=session.account, event=session.event, session=session.session, protocol=session.protocol,
                at_ms=self._clock.now_ms(), tracks=found.tracks, recorded=found.recorded,
            )
        )  # fmt: skip

    async def _end(self, reason: EndReason) -> None:
        at_ms = self._clock.now_ms()
        if self.session.first_frame_ms:  # a publisher that sent no frame leaves no trace
            await self._own()
            await self._outbox.emit(session_ended(self.session, reason, at_ms))
            self.session = self.session.model_copy(update={"ended_ms": at_ms, "reason": reason})
            await self._save()

    async def _save(self) -> None:
        """Write the session's record; EpochPassed when another instance owns it, Conflict when it has changed."""
        stored = await self._own()
        if stored is None:
            await self._records.sessions.create(self._key, self.session)
        else:
            await self._records.sessions.replace(stored, self.session)

    @property
    def _key(self) -> str:
        return f"{self.session.account}.{self.session.event}.{self.session.session}"

    async def _own(self) -> Stored[SessionRecord] | None:
        """Return the record once this instance may write it: by its epoch, or after resuming the session."""
        stored, epoch = await self._records.sessions.get(self._key), self._held()
        if stored is None or stored.value.epoch <= self.session.epoch:
            if epoch is not None and epoch > self.session.epoch:
                self.session = self.session.model_copy(update={"epoch": epoch})
            return stored
        if self._recovered or epoch is None:
            raise EpochPassed(f"the session is another's since epoch {stored.value.epoch}")
        if epoch <= stored.value.epoch:
            raise Unavailable("the lease is not renewed yet")
        return await self._go_on(stored, epoch)

    async def _go_on(self, stored: Stored[SessionRecord], epoch: int) -> Stored[SessionRecord]:
        """Announce that a session which was declared over continues, and write its record again.

        The event comes first: after a crash in between, the next instance ends the session under the epoch sent here.
        """
        session = self.session.model_copy(update={"epoch": epoch, "resumed": epoch})
        await self._outbox.emit(
            SessionStarted(
                account=session.account, event=session.event, session=session.session, protocol=session.protocol,
                at_ms=self._clock.now_ms(), origin_ms=session.origin_ms, resumed=epoch,
            )
        )  # fmt: skip
        stored = await self._records.sessions.replace(stored, session)
        self.session = session
        log.warning("session.resumed", session=session.session, epoch=epoch)
        return stored


async def event_zero(clocks: Bucket[EventClock], session: SessionRecord, first_frame_ms: int) -> int:
    """Return the wall clock (ms) of the event's first frame; the first session to ask sets it."""
    key = clock_key(session.account, session.event)
    try:
        await clocks.create(key, EventClock(first_frame_ms=first_frame_ms))
    except Conflict:
        stored = await clocks.get(key)
        return stored.value.first_frame_ms if stored else first_frame_ms
    return first_frame_ms


def segment_message(
    session: SessionRecord, info: SegmentInfo, key: str, init_key: str, *, recovered: bool = False
) -> SegmentWritten:
    """Return a segment's message for the DVR log."""
    return SegmentWritten(
        account=session.account, event=session.event, session=session.session, track=session.track,
        sequence=info.sequence, key=key, init_key=init_key, start=info.start, duration=info.duration,
        timescale=info.timescale, origin_ms=session.origin_ms, zero=session.zero, lead=session.lead,
        wall_start_ms=info.wall_start_ms, timecode=info.timecode, timecodes=info.timecodes,
        bytes=info.bytes, sha256=info.sha256, keyframes=tuple(info.keyframes),
        discontinuity=info.discontinuity, recovered=recovered, independent=info.independent,
    )  # fmt: skip


def session_ended(session: SessionRecord, reason: EndReason, at_ms: int) -> SessionEnded:
    """Return the message that a session has ended."""
    return SessionEnded(
        account=session.account, event=session.event, session=session.session, at_ms=at_ms, reason=reason,
        segments=session.segments, bytes=session.bytes, resumed=session.resumed,
    )  # fmt: skip
