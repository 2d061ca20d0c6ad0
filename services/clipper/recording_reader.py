"""Finds what a clip is cut from: which part of the recording, and whether all of it is there yet.

Nothing here waits: NotYet is raised for media that is still to come, and the message is delivered again. So no clip
delays another, and a clip that was cancelled meanwhile ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Final

from nats.js import JetStreamContext

from services.clipper.extent import reaches
from services.clipper.footage import Footage, Recorded, nothing
from services.clipper.reach import FURTHEST, MARGIN, entry, near
from shared.broker.kv import Bucket
from shared.errors import NotYet, Rejected
from shared.media.timeline import Placed, Span, locate
from shared.messages.clips import ClipCreate
from shared.messages.jobs import ENDED_STATES, JobRecord
from shared.messages.media import SegmentWritten, Track
from shared.messages.ranges import Selection
from shared.messages.sessions import SessionRecord
from shared.recording import RecordingPart, load_range
from shared.recording.asking import Asking
from shared.recording.clip_span import clip_span
from shared.runtime.clock import Clock
from shared.store import MediaStore

# Job states in which a broadcast is over; a static job in `waiting` is between two broadcasts.
OVER_STATES: Final = ENDED_STATES | {"waiting", "standby"}
# A job that was cancelled makes no clips that had not been begun.
DROPPED_STATES: Final = frozenset({"cancelling", "cancelled"})
# How long a session and its first segments may take to show up when the job says that it is live.
PATIENCE_MS: Final = 12_000
# How long to wait for an open session that writes nothing; after that the clip reports a gap.
LATEST: Final = timedelta(minutes=10)
# How long to wait for an hour whose index is being rebuilt; after that it is missing in the clip.
REBUILT_WITHIN: Final = timedelta(seconds=60)
FIRST_LOOK: Final = timedelta(milliseconds=300)
LONGEST_LOOK: Final = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class RecordingReader:
    """Reads recordings for clips."""

    js: Callable[[], JetStreamContext]
    store: MediaStore
    jobs: Bucket[JobRecord]
    sessions: Bucket[SessionRecord]
    clock: Clock
    asking: Asking | None = None

    async def until_over(self, order: ClipCreate) -> timedelta:
        """Return how long until the last of the clip's ends by the wall clock, of those that it may wait for."""
        return max([await self._until_over(part) for part in order.parts])

    async def _until_over(self, order: ClipCreate) -> timedelta:
        """Return how long until a range's end; zero when it may not wait or its job is over."""
        if not order.wait or _is_over(await self._job(order)):
            return timedelta(0)
        end = order.selection.end
        if order.selection.clock == "stream":
            part = await self._part(order)
            if not part.timeline and part.newest is None:
                return timedelta(seconds=1)  # no segment yet that shows when stream time began
            end = part.timeline.to_wall(end) if part.timeline else _wall_of(part.newest, end)
        return timedelta(milliseconds=max(int(end * 1000) - self.clock.now_ms(), 0))

    async def is_dropped(self, order: ClipCreate) -> bool:
        """Return whether a job that is waited for was cancelled before the clip was begun."""
        jobs = [await self._job(part) for part in order.parts if part.event in order.awaited]
        return any(job is not None and job.state in DROPPED_STATES for job in jobs)

    async def load(self, order: ClipCreate, *, complete: bool, since_ms: int) -> Footage:
        """Read what the clip is cut from; Rejected when nothing of it was recorded.

        NotYet while media is still to come: any of the range when `complete`, otherwise the first segment. `since_ms`
        is when the wait began.
        """
        parts = [await self._range(one, complete=complete, since_ms=since_ms) for one in order.parts]
        if not any(part.segments for part in parts):
            raise Rejected("nothing was recorded in the selected range, or it is no longer kept")
        return Footage(tuple(parts))

    async def _range(self, order: ClipCreate, *, complete: bool, since_ms: int) -> Recorded:
        """Read a range's part of its recording, without segments where nothing was recorded; NotYet."""
        part = await self._part(order)
        waited = timedelta(milliseconds=max(self.clock.now_ms() - since_ms, 0))
        if part.unread and waited < REBUILT_WITHIN:
            raise NotYet("the recording's index is being rebuilt", FIRST_LOOK)
        job = await self._job(order)
        start, end = self._bounds(order, job, part)
        touched = part.timeline.overlapping(Span(start, end)) if start < end else ()
        coming = False
        if start < end and (complete or not touched):
            coming = await self._is_coming(order, job, part, Span(start, end))
            if coming and waited < LATEST:
                raise NotYet("a part of the clip is on its way", min(max(FIRST_LOOK, waited / 8), LONGEST_LOOK))
        if not touched:
            return nothing(_converted(order, part, Span(start, end)))
        if coming or not _is_over(job):
            until = part.timeline.to_stream(Fraction(self.clock.now_ms() if order.wait else order.requested_ms, 1000))
            until = max(until, order.recorded_to or until)
        else:
            until = max(locate(part.newest).end if part.newest else touched[-1].end, touched[-1].end)
        return Recorded(near(part.timeline, Span(start, end)), start, end, min(end, until))

    async def _part(self, order: ClipCreate) -> RecordingPart:
        return await self.part(order.account, order.event, order.selection)

    async def part(self, account: str, event: str, selection: Selection, track: Track = "primary-1") -> RecordingPart:
        """Read a range of a track, starting at a keyframe before its in point."""
        margin = MARGIN
        while True:
            part = await load_range(
                self.js(), self.store, account, event, selection=selection, margin=margin, track=track
            )
            if self.asking is not None:
                for hour in part.unread:
                    await self.asking.ask(account, event, hour)
            if margin >= FURTHEST or entry(part.timeline, part.span.start) is not None:
                return part
            margin = min(margin * 10, FURTHEST)

    def _bounds(self, order: ClipCreate, job: JobRecord | None, part: RecordingPart) -> tuple[Fraction, Fraction]:
        """Return in and out points."""
        newest = locate(part.newest).end if part.newest else None
        over = job is not None and job.ended and job.changed_ms <= order.requested_ms
        return clip_span(order, part.span, part.timeline.clocks if part.timeline else None, newest, over=over)

    async def _is_coming(self, order: ClipCreate, job: JobRecord | None, part: RecordingPart, span: Span) -> bool:
        """Return whether more of the range is to come, from open sessions whose segments do not reach beyond it yet."""
        sessions = [stored.value for stored in await self.sessions.items(f"{order.account}.{order.event}")]
        open_ones = [session for session in sessions if session.ended_ms is None]
        adding = [session for session in open_ones if _may_add(session, sessions, part, span)]
        if open_ones:
            return not await asyncio.to_thread(self._are_there, adding, part, span.end)
        if job is None or job.state != "processing" or _reaches(part, span.end):
            return False
        over = part.timeline.to_wall(span.end) if part.timeline else _wall_of(part.newest, span.end)
        if part.newest is None and order.selection.clock == "stream":
            over = Fraction(order.requested_ms, 1000)
        return self.clock.now_ms() < over * 1000 + PATIENCE_MS

    def _are_there(self, sessions: Sequence[SessionRecord], part: RecordingPart, end: Fraction) -> bool:
        """Return whether the sessions' last segments hold everything up to a moment, though more could come."""
        newest: dict[str, Placed] = {}
        for placed in part.timeline.placed:
            newest[placed.segment.session] = placed
        last = [newest.get(session.session) for session in sessions]
        return all(at is not None and at.end >= end and reaches(self.store, at.segment, end) for at in last)

    async def _job(self, order: ClipCreate) -> JobRecord | None:
        job = await self.jobs.get(f"{order.account}.{order.event}")
        return job.value if job else None


def _is_over(job: JobRecord | None) -> bool:
    """Return whether nothing more will be recorded."""
    return job is None or job.state in OVER_STATES


def _may_add(session: SessionRecord, sessions: Sequence[SessionRecord], part: RecordingPart, span: Span) -> bool:
    """Return whether an open session may still write segments of the range."""
    if Fraction(session.origin_ms, 1000) >= span.end or _reaches(part, span.end, session.session):
        return False
    # a session that another followed before the range was killed: what is salvaged of it lies before the range, too
    return not any(session.origin_ms < other.origin_ms <= span.start * 1000 for other in sessions)


def _reaches(part: RecordingPart, end: Fraction, session: str | None = None) -> bool:
    """Return whether the log (or, if named, one open session's part of it) has been written up to a moment.

    Segments end at a decode time. Those of an open session must reach further, because the next segment may hold sound
    before the moment, and pictures that are shown before it but decoded after later ones.
    """
    known = list(part.timeline.placed)
    if part.newest is not None:
        known.append(locate(part.newest))
    return any(
        placed.end >= end + (_delay(placed.segment) if session else 0)
        for placed in known
        if session in {None, placed.segment.session}
    )


def _delay(segment: SegmentWritten) -> Fraction:
    """Return the time from decoding to showing of a session's first picture, s."""
    return Fraction(segment.zero - segment.lead, segment.timescale)


def _converted(order: ClipCreate, part: RecordingPart, span: Span) -> Span:
    """Return a span without segments in stream time: by the newest segment, or from 0 on where there is none."""
    if part.told or order.selection.clock == "stream":
        return span
    length = max(span.end - span.start, Fraction(0))
    start = _stream_of(part.newest, span.start) if part.newest else Fraction(0)
    return Span(start, start + length)


def _stream_of(segment: SegmentWritten, wall: Fraction) -> Fraction:
    placed = locate(segment)
    return placed.start + wall - placed.wall


def _wall_of(segment: SegmentWritten | None, stream: Fraction) -> Fraction:
    if segment is None:
        return stream
    placed = locate(segment)
    return placed.wall + stream - placed.start
