"""Records of recordings and their hours: the archiver's."""

from __future__ import annotations

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Record, Sha256, StoreKey
from shared.messages.media import IndexedSegment, Track


class SegmentRun(Record):
    """Segments of one session and track without a hole, first and last included."""

    session: HexId
    track: Track
    first: int = Field(ge=0)
    last: int = Field(ge=0)


class LostHour(Record):
    """The index object that an hour had before it was rebuilt with segments missing."""

    key: StoreKey
    sha256: Sha256
    segments: int = Field(ge=0, description="How many segments the hour has once all of them are found")


class HourSummary(Record):
    """A closed hour in the recording's list. Times are the first start and the last end, in ms.

    While `lost` is set, `runs` also name the missing segments, and the times include them.
    """

    hour: int
    key: StoreKey
    segments: int
    bytes: int
    sha256: Sha256
    log_sequence: int = Field(ge=0)
    stream_start_ms: int
    stream_end_ms: int
    wall_start_ms: Millis
    wall_end_ms: Millis
    longest_ms: int = Field(ge=0, description="Duration of the longest segment")
    closed: bool = Field(default=False, description="The hour is over, and has been announced as it is")
    runs: tuple[SegmentRun, ...] | None = Field(None, description="What is in the hour; none when it is in many pieces")
    lost: LostHour | None = Field(None, description="Something of the hour is missing, and is still looked for")


class RecordingRecord(Record):
    """A recording, in the bucket `recordings` under `<account>.<event>`; written by the archiver alone.

    Segments outside closed hours are in SEGMENTS, from `log_sequence` + 1 on. `last` holds each track's newest numbered
    segment of the closed hours, from which numbering continues. `expiring` hours are being deleted: nobody reads them.
    """

    account: AccountId
    event: HexId
    hours: tuple[HourSummary, ...] = Field((), max_length=20_000)
    expiring: tuple[HourSummary, ...] = Field((), max_length=20_000)
    log_sequence: int = Field(0, ge=0, description="Sequence in SEGMENTS of the last segment in a closed hour")
    last: tuple[IndexedSegment, ...] = Field((), max_length=6)
    longest_ms: int = Field(0, ge=0, description="Duration of the longest segment there ever was in a closed hour")
    expired_hours: int = Field(0, ge=0)
    changed_ms: Millis
