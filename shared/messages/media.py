"""Messages about recorded media."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from shared.messages.base import HexId, Message, Millis, Record, Sha256, StoreKey, Ticks

Track = Literal["primary-1", "primary-2", "primary-3", "backup-1", "backup-2", "backup-3"]


MOST_MARKS = 64


class TimecodeMark(Record):
    """From the picture shown at tick `at` on, timecodes count on from `label`, or stand still at it."""

    at: Ticks
    label: str = Field(max_length=12, pattern=r"^\d\d:\d\d:\d\d[:;]\d{2,3}$", description="With ; for drop frame")
    still: bool = False


class Timecodes(Record):
    """The timecodes of a segment's pictures, as they run: usually from the first picture on."""

    rate: str = Field(pattern=r"^\d+(/\d+)?$", max_length=32, description="Labels a second, n or n/d")
    marks: tuple[TimecodeMark, ...] = Field(min_length=1, max_length=MOST_MARKS)


class SegmentWritten(Message):
    """A segment is complete in the store. Published once per segment to SEGMENTS, the hot DVR log."""

    channel: ClassVar[str] = "media.segment.written"

    event: HexId
    session: HexId
    track: Track = "primary-1"
    sequence: int = Field(ge=0, description="Position within session and track, from 0, without holes")
    key: StoreKey
    init_key: StoreKey
    start: Ticks
    duration: Ticks
    timescale: int = Field(gt=0, le=10_000_000)
    origin_ms: int = Field(ge=0, description="Stream time of the session's first frame, in ms since the event's")
    zero: int = Field(0, ge=0, description="Tick at which the session's first frame is shown: stream time `origin_ms`")
    lead: int = Field(
        0, ge=0, description="Tick at which the session's first frame is decoded; before it lies sound alone"
    )
    wall_start_ms: Millis
    timecode: str | None = Field(None, description="SMPTE timecode of the first frame, when the encoder sends one")
    timecodes: Timecodes | None = Field(None, description="Where its timecodes run from, and how fast")
    bytes: int = Field(ge=0)
    sha256: Sha256
    keyframes: tuple[int, ...] = Field((), description="Ticks of the keyframes, absolute", max_length=4096)
    discontinuity: bool = Field(default=False, description="Does not continue the segment before it")
    recovered: bool = Field(default=False, description="Salvaged after its writer died")
    independent: bool = Field(
        default=True, description="Does not begin at a recovery point, whose pictures may need some from before"
    )

    @property
    def subject_id(self) -> str:
        """Return the event's id."""
        return self.event

    @property
    def dedup_id(self) -> str:
        """Return one id per session, track and sequence; a salvaged segment's differs, so that the whole may follow."""
        salvaged = f"-{self.bytes}" if self.recovered else ""
        return f"seg-{self.session}-{self.track}-{self.sequence}{salvaged}"


class IndexedSegment(Record):
    """A segment with its sequences: in SEGMENTS, and in its track's live playlist."""

    log: int = Field(ge=0, description="Sequence in SEGMENTS")
    number: int | None = Field(
        None, ge=0, description="Position in the track's recording, from 0; none: recovered too late for one"
    )
    discontinuity: int = Field(0, ge=0, description="Discontinuities of the track up to and with this segment")
    segment: SegmentWritten


class IndexHour(Record):
    """A closed hour of a recording, stored beside the media in `live/<event>/index/<hour>-<log sequence>.json`."""

    event: HexId
    hour: int = Field(description="Hours since the epoch, of the segments' wall-clock start")
    last_log_sequence: int = Field(ge=0, description="Sequence in SEGMENTS of the last segment that is included")
    segments: tuple[IndexedSegment, ...] = Field((), description="In the order of stream time, each once")


class RecordingsSweep(Message):
    """Delete hours that have passed retention, and close hours that are still open but over."""

    channel: ClassVar[str] = "recordings.sweep"

    tick_ms: Millis

    @property
    def subject_id(self) -> str:
        """Return "all": the sweep covers all events."""
        return "all"

    @property
    def dedup_id(self) -> str:
        """Return one id per tick."""
        return f"sweep-{self.account}-{self.tick_ms}"


class RecordingDelete(Message):
    """Delete the segments that lie entirely in a range; without a range, the recording and all its records."""

    channel: ClassVar[str] = "recordings.delete"

    event: HexId
    from_ms: Millis | None = None
    to_ms: Millis | None = None
    at_ms: Millis

    @property
    def subject_id(self) -> str:
        """Return the event's id."""
        return self.event

    @property
    def dedup_id(self) -> str:
        """Return one id per request."""
        return f"recording-delete-{self.event}-{self.from_ms}-{self.to_ms}-{self.at_ms}"


class RecordingRebuild(Message):
    """Rebuild an hour's index object that a reader found missing or damaged."""

    channel: ClassVar[str] = "recordings.rebuild"

    event: HexId
    hour: int
    key: StoreKey
    at_ms: Millis

    @property
    def subject_id(self) -> str:
        """Return the event's id."""
        return self.event

    @property
    def dedup_id(self) -> str:
        """Return one id per object and minute, however many readers report it."""
        return f"rebuild-{self.key}-{self.at_ms // 60_000}"


class RecordingExpired(Message):
    """A closed hour of a recording, or a part of it, has been deleted: media and index."""

    channel: ClassVar[str] = "recordings.range.expired"

    event: HexId
    hour: int
    segments: int
    bytes: int

    @property
    def subject_id(self) -> str:
        """Return the event's id."""
        return self.event

    @property
    def dedup_id(self) -> str:
        """Return one id per hour and content."""
        return f"expired-{self.event}-{self.hour}-{self.segments}-{self.bytes}"


class HourClosed(Message):
    """A closed hour of a recording has been compacted into its index object."""

    channel: ClassVar[str] = "recordings.hour.closed"

    event: HexId
    hour: int
    key: StoreKey
    segments: int
    bytes: int

    @property
    def subject_id(self) -> str:
        """Return the event's id."""
        return self.event

    @property
    def dedup_id(self) -> str:
        """Return one id per hour and content."""
        return f"hour-{self.event}-{self.hour}-{self.segments}"
