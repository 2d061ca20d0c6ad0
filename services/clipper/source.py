"""Finds what a clip is cut from: which part of the recording, and whether all of it is there yet.

Nothing here waits: what is still to come is told by NotYet, and the message comes again. So no clip delays another,
and one that was cancelled meanwhile ends.
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
from services.clipper.reach import FURTHEST, MARGIN, entry, near
from shared.broker.kv import Bucket
from shared.errors import NotYet, Rejected
from shared.media.timeline import TOLERANCE, Placed, Span, locate
from shared.messages.clips import ClipCreate, ClipFile, Gap
from shared.messages.jobs import ENDED_STATES, JobRecord
from shared.messages.media import SegmentWritten
from shared.messages.sessions import SessionRecord
from shared.recording import RecordingPart, load_range
from shared.recording.asking import Asking
from shared.runtime.clock import Clock
from shared.store import MediaStore

# A broadcast is over in these; a static job in `waiting` is between two.
OVER_STATES: Final = ENDED_STATES | {"waiting"}
# How long a session may take to show up, and its first segments, when the job says that one is live.
PATIENCE_MS: Final = 12_000
# An open session that brings nothing is waited for so long; then the clip says what is missing.
LATEST: Final = timedelta(minutes=10)
# An hour whose index is being rebuilt is waited for so long; then it is missing in the clip.
REBUILT_WITHIN: Final = timedelta(seconds=60)
# Between two segments the wall clock may be corrected by so much against the encoder's.
CLOCK_DRIFT: Final = Fraction(1, 4)
# Encoders send a burst when they begin: what is recorded may be ahead of the wall clock by so much.
AHEAD: Final = Fraction(1)
# Frames are shown whole, those that last for longer are held: points within them are kept.
LONGEST_FRAME: Final = Fraction(1)
FIRST_LOOK: Final = timedelta(milliseconds=300)
LONGEST_LOOK: Final = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The segments of a clip, and its in and out points in stream time.

    `until` is where the clip must reach, as far as is known: the out point, the event's end, or the present.
    """

    segments: Sequence[SegmentWritten]
    start: Fraction
    end: Fraction
    until: Fraction

    @property
    def keys(self) -> frozenset[str]:
        """The segments' keys in the store."""
        return frozenset(segment.key for segment in self.segments)

    @property
    def range(self) -> tuple[Sequence[SegmentWritten], Fraction, Fraction]:
        """Segments, in point, out point."""
        return self.segments, self.start, self.end

    def missing(self, file: ClipFile, within: Sequence[Gap]) -> tuple[Gap, ...]:
        """Return all that a file lacks of the clip: `within` it, and before and after it."""
        frame = file.duration / file.frames if file.frames else TOLERANCE
        slack = max(TOLERANCE, min(frame, LONGEST_FRAME))
        gaps = list(within)
        if file.in_point - self.start > slack:
            gaps.insert(0, Gap(start=self.start, duration=file.in_point - self.start))
        if self.until - file.out_point > slack:
            gaps.append(Gap(start=file.out_point, duration=self.until - file.out_point))
        return tuple(gaps)


@dataclass(frozen=True, slots=True)
class Source:
    """Reads recordings for clips."""

    js: Callable[[], JetStreamContext]
    store: MediaStore
    jobs: Bucket[JobRecord]
    sessions: Bucket[SessionRecord]
    clock: Clock
    asking: Asking | None = None

    async def until_over(self, order: ClipCreate) -> timedelta:
        """Say how long a clip that may wait has to: until its end by the wall clock, or its job's; else zero."""
        if not order.wait or _is_over(await self._job(order)):
            return timedelta(0)
        end = order.selection.end
        if order.selection.clock == "stream":
            part = await self._part(order)
            if not part.timeline and part.newest is None:
                return timedelta(seconds=1)  # nothing has come yet that tells when stream time began
            end = part.timeline.to_wall(end) if part.timeline else _wall_of(part.newest, end)
        return timedelta(milliseconds=max(int(end * 1000) - self.clock.now_ms(), 0))

    async def load(self, order: ClipCreate, *, complete: bool, since_ms: int) -> Recorded:
        """Read the clip's part of the recording; Rejected when nothing of it was recorded.

        NotYet while something is still to come: all of it when `complete`, otherwise the first segment. That has been
        waited for since `since_ms`.
        """
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
            raise Rejected("nothing was recorded in the selected range, or it is no longer kept")
        if coming or not _is_over(job):
            until = part.timeline.to_stream(Fraction(self.clock.now_ms() if order.wait else order.requested_ms, 1000))
            until = max(until, order.recorded_to or until)
        else:
            until = max(locate(part.newest).end if part.newest else touched[-1].end, touched[-1].end)
        return Recorded(near(part.timeline, Span(start, end)), start, end, min(end, until))

    async def _part(self, order: ClipCreate) -> RecordingPart:
        """Read the range, from a keyframe before its in point on."""
        margin = MARGIN
        while True:
            part = await load_range(
                self.js(), self.store, order.account, order.event, selection=order.selection, margin=margin
            )
            if self.asking is not None:
                for hour in part.unread:
                    await self.asking.ask(order.account, order.event, hour)
            if margin >= FURTHEST or entry(part.timeline, part.span.start) is not None:
                return part
            margin = min(margin * 10, FURTHEST)

    def _bounds(self, order: ClipCreate, job: JobRecord | None, part: RecordingPart) -> tuple[Fraction, Fraction]:
        """Return in and out points; without `wait`, nothing after the request belongs to the clip.

        What was recorded by then does, though the wall clock may say that it is yet to come.
        """
        start, end = part.span
        asked = order.selection.end - order.selection.start
        if abs(end - start - asked) < CLOCK_DRIFT:  # ten seconds of wall clock are ten seconds of frames
            newest = locate(part.newest).end if part.newest else end
            start, end = (start, start + asked) if start + asked <= max(newest, end) else (end - asked, end)
        was_over = job is not None and job.ended and job.changed_ms <= order.requested_ms
        if part.timeline and not (order.wait or was_over):
            present = part.timeline.to_stream(Fraction(order.requested_ms, 1000)) + AHEAD
            end = min(end, max(present, order.recorded_to or present))
        return max(start, Fraction(0)), end

    async def _is_coming(self, order: ClipCreate, job: JobRecord | None, part: RecordingPart, span: Span) -> bool:
        """Tell whether more of the range is to come: from sessions that are open and have not been read beyond it."""
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
        """Tell whether the sessions' last segments hold everything up to a moment, though more could come."""
        newest: dict[str, Placed] = {}
        for placed in part.timeline.placed:
            newest[placed.segment.session] = placed
        last = [newest.get(session.session) for session in sessions]
        return all(at is not None and at.end >= end and reaches(self.store, at.segment, end) for at in last)

    async def _job(self, order: ClipCreate) -> JobRecord | None:
        job = await self.jobs.get(f"{order.account}.{order.event}")
        return job.value if job else None


def _is_over(job: JobRecord | None) -> bool:
    """Tell whether nothing more is to be recorded."""
    return job is None or job.state in OVER_STATES


def _may_add(session: SessionRecord, sessions: Sequence[SessionRecord], part: RecordingPart, span: Span) -> bool:
    """Tell whether an open session may still write segments of the range."""
    if Fraction(session.origin_ms, 1000) >= span.end or _reaches(part, span.end, session.session):
        return False
    # one that a later session has followed, before the range, was killed: what is salvaged of it lies before, too
    return not any(session.origin_ms < other.origin_ms <= span.start * 1000 for other in sessions)


def _reaches(part: RecordingPart, end: Fraction, session: str | None = None) -> bool:
    """Tell whether the log (of one session, if named: an open one) has been written up to a moment.

    Segments end by decode time. An open session's must reach further: the sound up to the moment, and pictures that are
    decoded after others shown later, may be in the next one.
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
    """How much later than it is decoded a session's first picture is shown."""
    return Fraction(segment.zero - segment.lead, segment.timescale)


def _wall_of(segment: SegmentWritten | None, stream: Fraction) -> Fraction:
    if segment is None:
        return stream
    placed = locate(segment)
    return placed.wall + stream - placed.start
