"""A recording as a Media on stream time. Gaps, reconnects and changes of codec are seams.

The index is read some minutes at a time, so that a recording of days costs no more than one of minutes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from threading import Event
from typing import Final

from nats.js import JetStreamContext

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.sources.access import Access, Gone, Stopped, rest, stored
from services.restreamer.sources.containers.entering import entered
from services.restreamer.sources.recorded.segments import (
    Clock,
    Init,
    Row,
    clear_file,
    local_file,
    read_packets,
    read_rows,
)
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import MediaError
from shared.media.timeline import Placed, Timeline, joins, locate
from shared.messages.media import SegmentWritten
from shared.messages.ranges import Selection
from shared.messages.recordings import RecordingRecord
from shared.recording import RecordingPart, load_range
from shared.recording.log import newest, read_log
from shared.security.content_keys import ContentKeys

TRACK: Final = "primary-1"
WINDOW: Final = Fraction(600)
LONGEST_WINDOW: Final = Fraction(86_400)
REBUILT_NS: Final = 5_000_000_000
"""How long the archiver may take to rebuild an hour of the index before the hour counts as a gap."""
MARGIN: Final = Fraction(20)  # a moment's keyframe is in a segment at most this long before it


@dataclass(frozen=True, slots=True)
class Opened:
    """A segment's samples and its tracks."""

    segment: SegmentWritten
    rows: list[Row]
    video: Track | None
    audio: Track | None

    @property
    def first(self) -> int:
        """When its first picture, or without video its first audio, is presented."""
        entries = [row.pts for row in self.rows if row.key and (self.video is None or not row.kind)]
        return entries[0] if entries else self.rows[0].pts


class SegmentReader:
    """Opens segments of an event's recording; keeps the last init segment."""

    def __init__(self, access: Access, stop: Event) -> None:
        self.access = access
        self.stop = stop
        self._keys = ContentKeys(access.vault)
        self._key = ""
        self._init = Init(None, None)
        self._rate: Fraction | None = None

    def open(self, segment: SegmentWritten) -> Opened:
        """Read a segment's tables; raise Gone when it is gone or broken, SourceError when the store stays away."""
        return self.access.patiently(lambda: self._open(segment), self.stop)

    def _open(self, segment: SegmentWritten) -> Opened:
        store, limits = self.access.store, self.access.limits
        if segment.init_key != self._key:
            data = stored(lambda: store.get(segment.init_key), self.stop, limits.patience)
            self._init, self._key, self._rate = Init.read(data), segment.init_key, None
        try:
            with local_file(store, segment.key, limits, self.stop) as path:
                rows, rate = read_rows(path, self._init, Clock.of(segment).shift)
                self._init = self._init.heard(path, rows)
        except (MediaError, OSError) as error:
            raise Gone("a segment of the recording cannot be read") from error
        if not rows:
            raise Gone("a segment of the recording is empty")
        self._rate = self._rate or rate  # keep one rate: another segment's rate would change the track
        return Opened(segment, rows, *self._init.tracks(self._rate))

    def packets(self, opened: Opened, rows: list[Row]) -> Iterator[Packet]:
        """Yield samples of a segment as packets."""
        key = opened.segment.key
        with (
            local_file(self.access.store, key, self.access.limits, self.stop) as path,
            clear_file(path, key, self._keys) as clear,
        ):
            for packet in read_packets(clear, rows):
                if self.stop.is_set():
                    raise Stopped
                yield packet


class RecordingMedia:
    """The recording of an event, up to now."""

    def __init__(self, event: str, access: Access, stop: Event) -> None:
        self.resumes: int | None = None
        self._event = event
        self._access = access
        self._reader = SegmentReader(access, stop)
        self._stop = stop
        self._begin = access.ask(self._first, stop)
        self._segments: Iterator[SegmentWritten] | None = None
        self._next: Opened | None = None
        self._missed: set[str] = set()
        self._walls: dict[int, int] = {}
        self._near: RecordingPart | None = None
        part = self._load(self._begin, WINDOW)
        opened = self._openable(iter([p.segment for p in part.timeline.placed]))
        opened = opened or self._openable(self._from(self._begin))  # its first hour may be unreadable
        if opened is None or part.newest is None:
            raise SourceError("nothing of this recording can be read")
        self.video: Track | None = opened.video
        self.audio: Track | None = opened.audio
        self.duration: int | None = round(locate(part.newest).end * FLICKS)
        placed = locate(opened.segment)
        self.wall_start_ms: int | None = round((placed.wall - placed.start) * 1000)

    def packets(self, start: int) -> Iterator[Packet]:
        """Yield packets from the last keyframe at or before `start`, until a seam."""
        at, self.resumes = self.resumes, None
        if at is None or at != start or self._next is None:
            self._segments = self._from(Fraction(start, FLICKS))
            self._next = self._openable(self._segments)
        opened, self._next = self._next, None
        if opened is None:
            return
        self.video, self.audio = opened.video, opened.audio
        flow = ((packet, None) for packet in self._run(opened))
        for packet, _ in entered(flow, start, video=self.video is not None):
            yield packet

    def from_wall(self, wall_ms: int, *, out: bool) -> int:  # noqa: ARG002  a gap also takes time in stream time
        """Return the stream time of a wall-clock moment (ms)."""
        if wall_ms not in self._walls:
            self._walls[wall_ms] = self._find_wall(Fraction(wall_ms, 1000))
        return self._walls[wall_ms]

    def _find_wall(self, wall: Fraction) -> int:
        near = self._near
        if near is None or not near.timeline or not _reaches(near.timeline, wall):
            near = self._near = self._part(Selection(clock="wall", start=wall, end=wall + WINDOW))
        if near.timeline and _reaches(near.timeline, wall):
            return round(near.timeline.to_stream(wall) * FLICKS)
        if near.told:
            return round(near.span.start * FLICKS)
        last = locate(near.newest) if near.newest is not None else None
        if last is not None and wall > last.wall:
            return round((last.start + wall - last.wall) * FLICKS)
        return round((wall - Fraction(self.wall_start_ms or 0, 1000)) * FLICKS)

    def close(self) -> None:
        """Drop the segments read ahead; this source holds no other resource."""
        self._segments = self._next = self._near = None

    def _run(self, opened: Opened) -> Iterator[Packet]:
        """Yield the packets of consecutive segments; record the seam after them."""
        while True:
            lost = False
            try:
                yield from self._reader.packets(opened, opened.rows)
            except Gone:  # deleted by retention meanwhile
                lost = True
            following = self._openable(self._segments or iter(()))
            if following is None:
                return
            same = (following.video, following.audio) == (opened.video, opened.audio)
            if lost or not same or not joins(opened.segment, following.segment):
                self._next, self.resumes = following, following.first
                self.video, self.audio = following.video, following.audio
                return
            opened = following

    def _openable(self, segments: Iterator[SegmentWritten]) -> Opened | None:
        """Return the next segment that can be opened; those before it are a gap."""
        for segment in segments:
            with contextlib.suppress(Gone):
                return self._reader.open(segment)
        return None

    def _from(self, start: Fraction) -> Iterator[SegmentWritten]:
        """Yield segments from the one with the last keyframe before `start`, up to the newest."""
        start = max(start, self._begin)
        window = WINDOW
        part = self._load(start, window)
        placed = part.timeline.placed
        index = next((n for n, p in enumerate(placed) if p.end > start), len(placed))
        while 0 < index < len(placed) and not _enters(placed[index], start):
            if not joins(placed[index - 1].segment, placed[index].segment):
                break
            index -= 1
        last = start - MARGIN
        for each in placed[index:]:
            yield each.segment
            last = max(last, each.start)
        read_to = start + window
        while part.newest is not None and locate(part.newest).end > read_to:
            part = self._load(read_to, window)
            read_to += window
            fresh = [p for p in part.timeline.placed if p.start > last]
            window = WINDOW if fresh else min(window * 4, LONGEST_WINDOW)
            for each in fresh:
                yield each.segment
                last = max(last, each.start)

    def _load(self, start: Fraction, window: Fraction) -> RecordingPart:
        return self._part(Selection(clock="stream", start=start, end=start + window))

    def _part(self, selection: Selection) -> RecordingPart:
        access = self._access

        async def load(js: JetStreamContext) -> RecordingPart:
            part = await load_range(
                js, access.store, access.account, self._event, selection=selection, margin=MARGIN, track=TRACK
            )
            if access.asking is not None:
                for hour in part.unread:
                    await access.asking.ask(access.account, self._event, hour)
            return part

        began_ns: int | None = None
        while True:
            part = access.patiently(lambda: access.ask(load, self._stop), self._stop)
            fresh = {hour.key for hour in part.unread} - self._missed
            now_ns = access.clock.monotonic_ns()
            began_ns = now_ns if began_ns is None else began_ns
            if access.asking is None or not fresh or now_ns - began_ns >= REBUILT_NS:
                self._missed |= fresh  # from now on a gap, without another wait
                return part
            rest(self._stop, access.limits.pause)

    async def _first(self, js: JetStreamContext) -> Fraction:
        """Return where the remaining recording starts, in s of stream time."""
        access = self._access
        stored_record = await Bucket(access.js, buckets.RECORDINGS, RecordingRecord).get(
            f"{access.account}.{self._event}"
        )
        record = stored_record.value if stored_record else None
        if record is not None and record.hours:
            return Fraction(min(hour.stream_start_ms for hour in record.hours), 1000)
        after = record.log_sequence if record is not None else 0
        if await newest(js, access.account, self._event) is None:
            raise SourceError("there is no such recording")
        tail = await read_log(js, access.account, self._event, after=after)
        return min((locate(logged.segment).start for logged in tail), default=Fraction(0))


def _reaches(timeline: Timeline, wall: Fraction) -> bool:
    """Return whether a moment is between a timeline's first and last segment."""
    return timeline.placed[0].wall <= wall <= timeline.placed[-1].wall_end


def _enters(placed: Placed, start: Fraction) -> bool:
    """Return whether a segment has a keyframe that is shown at `start` or before."""
    segment = placed.segment
    if not segment.keyframes:
        return False
    shown = Fraction(segment.origin_ms, 1000) + Fraction(segment.keyframes[0] - segment.zero, segment.timescale)
    return shown <= start
