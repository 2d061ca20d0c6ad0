"""Start and end of a job's recording, by both clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Final

from cachetools import LRUCache
from nats.js import JetStreamContext

from services.gateway.domain.clips.timecodes import Timecodes
from services.gateway.domain.clips.window import Recording
from services.gateway.domain.errors import invalid
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.media.timeline import locate
from shared.messages.jobs import JobRecord
from shared.messages.media import SegmentWritten
from shared.messages.sessions import EventClock, clock_key
from shared.runtime.clock import Clock

REMEMBERED_CLOCKS: Final = 10_000


class Bounds:
    """Reads the times of recordings, which are kept for `retention`; of a static entry point, its last activation's."""

    def __init__(
        self, jetstream: Callable[[], JetStreamContext], retention: timedelta, clock: Clock, timecodes: Timecodes
    ) -> None:
        self.timecodes = timecodes
        self._clocks = Bucket(jetstream, buckets.SESSIONS, EventClock)
        self._retention = retention
        self._clock = clock
        self._first_frames: LRUCache[str, int] = LRUCache(REMEMBERED_CLOCKS)

    async def of(self, job: JobRecord, last: SegmentWritten | None) -> Recording:
        """Return a recording's times; Invalid when nothing was published, or it is no longer kept."""
        first = await self.first_frame(job.account, job.event) if job.entry is None else job.entry.first_ms
        if first is None:
            raise invalid("", "nothing has been published to this job yet", code="STREAM_NOT_STARTED")
        now = self._clock.now_ms()
        publishing = not job.ended and (bool(job.open_sessions) or job.media_end_ms is None)
        live = not job.broadcast_over
        end = now if publishing else job.finished_ms or job.media_end_ms or now
        if not live and now - end > self._retention / timedelta(milliseconds=1):
            raise invalid("", "the recording of this job is no longer kept", code="RECORDING_EXPIRED")
        created, zero = job.created_ms, Fraction(0)
        if job.entry is not None:  # what was recorded before this activation is no part of its stream
            created, zero = job.entry.activated_ms, Fraction(job.entry.origin_ms, 1000)
        return self._up_to(Recording(created, first, end, Fraction(0), live, publishing, zero), last)

    def _up_to(self, recording: Recording, last: SegmentWritten | None) -> Recording:
        """Add the recording's end in stream time; an encoder's clock and ours drift apart within hours."""
        if last is None:
            return replace(recording, stream_end=Fraction(recording.end_ms - recording.first_frame_ms, 1000))
        placed = locate(last)
        end_ms = max(recording.end_ms, int(placed.wall_end * 1000))
        since = Fraction(end_ms, 1000) - placed.wall_end if recording.publishes else Fraction(0)
        return replace(recording, end_ms=end_ms, stream_end=placed.end - recording.zero + max(since, Fraction(0)))

    async def first_frame(self, account: str, event: str) -> int | None:
        """Return when the event's first frame arrived (ms since the epoch), None before that; it never changes."""
        if found := self._first_frames.get(event):
            return found
        stored = await self._clocks.get(clock_key(account, event))
        if stored is None:
            return None
        self._first_frames[event] = stored.value.first_frame_ms
        return stored.value.first_frame_ms
