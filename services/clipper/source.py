"""Finds what a clip is cut from: which part of the recording, and whether all of it is there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Final

from nats.js import JetStreamContext

from shared.clock import Clock
from shared.errors import Rejected
from shared.kv import Bucket
from shared.media.timeline import place
from shared.messages.clips import ClipCreate
from shared.messages.jobs import JobRecord
from shared.messages.media import SegmentWritten
from shared.recording import RecordingPart, load_range
from shared.store import MediaStore

# Packets of sound before the in point are in the segment before it.
MARGIN: Final = Fraction(3)
# How long after its end a moment may still arrive: the longest segment, and the way to the broker.
PATIENCE_MS: Final = 12_000
# Between two segments the wall clock may be corrected by so much against the encoder's.
CLOCK_DRIFT: Final = Fraction(1, 4)
# Encoders send a burst when they begin: what is recorded may be ahead of the wall clock by so much.
AHEAD: Final = Fraction(1)
FIRST_LOOK_S: Final = 0.05
LONGEST_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Recorded:
    """The segments of a clip, and its in and out points in stream time."""

    segments: Sequence[SegmentWritten]
    start: Fraction
    end: Fraction

    @property
    def range(self) -> tuple[Sequence[SegmentWritten], Fraction, Fraction]:
        """All three."""
        return self.segments, self.start, self.end


@dataclass(frozen=True, slots=True)
class Source:
    """Reads recordings for clips."""

    js: Callable[[], JetStreamContext]
    store: MediaStore
    jobs: Bucket[JobRecord]
    clock: Clock

    async def until_over(self, order: ClipCreate) -> timedelta:
        """Say how long a clip that may wait has to: until its end by the wall clock; zero for any other clip."""
        if not order.wait or not await self._is_live(order):
            return timedelta(0)
        end = order.selection.end
        if order.selection.clock == "stream":
            part = await self._part(order)
            if not part.timeline and part.newest is None:
                return timedelta(seconds=5)  # nothing has come yet that tells when stream time began
            end = part.timeline.to_wall(end) if part.timeline else _wall_of(part.newest, end)
        return timedelta(milliseconds=max(int(end * 1000) - self.clock.now_ms(), 0))

    async def load(self, order: ClipCreate, *, complete: bool) -> Recorded:
        """Read the clip's part of the recording; Rejected when nothing of it was recorded.

        What is still arriving is waited for: all of it when `complete`, otherwise the first segment.
        """
        pause = FIRST_LOOK_S
        while True:
            part = await self._part(order)
            start, end = self._bounds(order, part)
            touched = [p for p in part.timeline.placed if p.start < end and p.end > start]
            reached = part.newest is not None and place(part.newest).end >= end
            if (touched and not complete) or reached or not await self._may_come(order, part, end):
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK_S)
        if not touched:
            raise Rejected("nothing was recorded in the selected range")
        return Recorded(part.segments, start, end)

    async def _part(self, order: ClipCreate) -> RecordingPart:
        return await load_range(
            self.js(), self.store, order.account, order.event, selection=order.selection, margin=MARGIN
        )

    def _bounds(self, order: ClipCreate, part: RecordingPart) -> tuple[Fraction, Fraction]:
        """Give in and out points; without `wait`, nothing after the request belongs to the clip."""
        start, end = part.span
        asked = order.selection.end - order.selection.start
        if abs(end - start - asked) < CLOCK_DRIFT:  # ten seconds of wall clock are ten seconds of frames
            start = end - asked
        if not order.wait and order.live and part.timeline:
            end = min(end, part.timeline.to_stream(Fraction(order.requested_ms, 1000)) + AHEAD)
        return max(start, Fraction(0)), end

    async def _may_come(self, order: ClipCreate, part: RecordingPart, end: Fraction) -> bool:
        if not await self._is_live(order):
            return False
        if part.timeline:
            over_ms = int(part.timeline.to_wall(end) * 1000)
        elif order.selection.clock == "wall":
            over_ms = int(order.selection.end * 1000)
        else:
            over_ms = order.requested_ms
        return self.clock.now_ms() < over_ms + PATIENCE_MS

    async def _is_live(self, order: ClipCreate) -> bool:
        job = await self.jobs.get(f"{order.account}.{order.event}")
        return job is not None and job.value.state in {"standby", "waiting", "processing"}


def _wall_of(segment: SegmentWritten | None, stream: Fraction) -> Fraction:
    if segment is None:
        return stream
    placed = place(segment)
    return placed.wall + stream - placed.start
