"""Reads the part of a recording that a clip needs: the closed hours that touch it and the log's tail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from nats.js import JetStreamContext

from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.media.timeline import Span, Timeline, locate
from shared.messages.media import SegmentWritten, Track
from shared.messages.ranges import Selection
from shared.messages.recordings import HourSummary, RecordingRecord
from shared.recording.hours import IndexDamaged, load_hour
from shared.recording.log import Logged, newest, read_log
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore, ObjectMissing

log = get_logger()
TRIES: Final = 4
# How far a segment's wall clock may lie after the broker's, when the tail is read from a time on.
SLACK_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class RecordingPart:
    """A part of a recording: the segments of one track that touch a selection, in order of stream time.

    `newest` is the newest segment of the recording, in the part or not; None when nothing was recorded.
    """

    account: str
    event: str
    timeline: Timeline
    span: Span
    newest: SegmentWritten | None
    told: bool = True
    """Whether there was a segment from which to convert the selection; if not, `span` is the selection's own."""
    unread: tuple[HourSummary, ...] = ()
    """Hours that the part touches and whose index objects cannot be read: their segments are missing in it."""

    @property
    def segments(self) -> tuple[SegmentWritten, ...]:
        """Return the segments, each once."""
        return tuple(placed.segment for placed in self.timeline.placed)


async def load_range(
    js: JetStreamContext,
    store: MediaStore,
    account: str,
    event: str,
    *,
    selection: Selection,
    margin: Fraction = Fraction(0),
    track: Track = "primary-1",
) -> RecordingPart:
    """Read what `selection` and `margin` seconds on either side touch; `span` is the selection in stream time.

    Unavailable when broker or store does not answer.
    """
    bucket = Bucket(lambda: js, buckets.RECORDINGS, RecordingRecord)
    for number in range(TRIES):
        stored, last = await asyncio.gather(bucket.get(f"{account}.{event}"), newest(js, account, event))
        record = stored.value if stored else RecordingRecord(account=account, event=event, changed_ms=0)
        want = _Want.of(selection, margin, _newest(record, last))
        try:
            (closed, unread), tail = await asyncio.gather(
                asyncio.to_thread(_closed, store, record.hours, want, last=number == TRIES - 1),
                _tail(js, record, want),
            )
        except ObjectMissing:  # the hour was rewritten or expired after the record was read, or it is lost
            continue
        every = Timeline(s for s in [*closed, *(logged.segment for logged in tail)] if s.track == track)
        return replace(_part(account, event, every, selection, margin, _newest(record, last)), unread=unread)
    raise Unavailable("the recording's index keeps changing")


async def last_segment(js: JetStreamContext, account: str, event: str) -> SegmentWritten | None:
    """Read the last segment of a recording; None when nothing was recorded. Unavailable without the broker."""
    bucket = Bucket(lambda: js, buckets.RECORDINGS, RecordingRecord)
    stored, last = await asyncio.gather(bucket.get(f"{account}.{event}"), newest(js, account, event))
    if stored is None:
        return last.segment if last else None
    return _newest(stored.value, last)


@dataclass(frozen=True, slots=True)
class _Want:
    """The wanted range with its margin, in ms of the selection's clock, and its approximate start by the wall clock."""

    clock: str
    in_point: Fraction
    start_ms: int
    end_ms: int
    wall_ms: int

    @classmethod
    def of(cls, selection: Selection, margin: Fraction, last: SegmentWritten | None) -> _Want:
        start = int((selection.start - margin) * 1000) - 1
        end = int((selection.end + margin) * 1000) + 1
        wall = start
        if selection.clock == "stream" and last is not None:
            wall += last.wall_start_ms - int(locate(last).start * 1000)
        return cls(selection.clock, selection.start, start, end, wall)

    def touches(self, hour: HourSummary) -> bool:
        if self.clock == "wall":
            return hour.wall_start_ms <= self.end_ms and hour.wall_end_ms >= self.start_ms
        return hour.stream_start_ms <= self.end_ms and hour.stream_end_ms >= self.start_ms

    def begins_before(self, segment: SegmentWritten) -> bool:
        placed = locate(segment)
        return self.in_point < (placed.wall if self.clock == "wall" else placed.start)


def _newest(record: RecordingRecord, last: Logged | None) -> SegmentWritten | None:
    if last is not None and last.log > record.log_sequence:
        return last.segment
    ends = [indexed.segment for indexed in record.last]
    return max(ends, key=lambda s: locate(s).end) if ends else last.segment if last else None


def _closed(
    store: MediaStore, hours: tuple[HourSummary, ...], want: _Want, *, last: bool
) -> tuple[list[SegmentWritten], tuple[HourSummary, ...]]:
    """Return the segments of the wanted hours, and unreadable hours. ObjectMissing, except on the `last` try."""
    found: list[SegmentWritten] = []
    unread: list[HourSummary] = []
    for hour in filter(want.touches, hours):
        try:
            found += [indexed.segment for indexed in load_hour(store, hour).segments]
        except (IndexDamaged, ObjectMissing) as error:
            if not last and isinstance(error, ObjectMissing):
                raise
            log.error("recording.hour.damaged", key=hour.key, error=str(error))
            unread.append(hour)
    return found, tuple(unread)


async def _tail(js: JetStreamContext, record: RecordingRecord, want: _Want) -> list[Logged]:
    """Read the log from about the selection's start, or its whole tail when that was not early enough."""
    floor = max((hour.wall_end_ms for hour in record.hours), default=0)
    if want.wall_ms - SLACK_MS > floor:
        tail = await read_log(
            js, record.account, record.event, after=record.log_sequence, since_ms=want.wall_ms - SLACK_MS
        )
        first = next((logged.segment for logged in tail if not logged.segment.recovered), None)
        if first is not None and not want.begins_before(first):
            return tail
    return await read_log(js, record.account, record.event, after=record.log_sequence)


def _part(
    account: str,
    event: str,
    every: Timeline,
    selection: Selection,
    margin: Fraction,
    last: SegmentWritten | None,
) -> RecordingPart:
    if not every:
        return RecordingPart(account, event, every, Span(selection.start, selection.end), last, told=False)
    span = every.resolve(selection)
    return RecordingPart(account, event, every.part(Span(span.start - margin, span.end + margin)), span, last)
