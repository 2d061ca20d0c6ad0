"""Records about live jobs, keys and sessions, that one service writes and others read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Record, Sha256, StoreKey
from shared.messages.live import EndReason, JobState, Protocol
from shared.messages.media import IndexedSegment, Track
from shared.runtime.lease import Holder
from shared.runtime.settings import TakeUp

Scope = Literal[
    "admin", "jobs:read", "jobs:write", "vods:read", "vods:write", "restreams:read", "restreams:write", "credentials",
    "webhooks", "playback",
]  # fmt: skip
Ending = Literal["", "away", "asked", "length"]
ENDED_STATES: frozenset[str] = frozenset({"finished", "cancelled", "failed", "error"})


class StateChange(Record):
    """A state that a job entered."""

    state: JobState
    at_ms: Millis


class ClosedSession(Record):
    """A session that is over."""

    session: HexId
    at_ms: Millis


class Resumption(Record):
    """A session that went on after it had been declared over."""

    session: HexId
    epoch: int = Field(description="`resumed` of its events since")


class JobRecord(Record):
    """A live job, in the bucket `events` under `<account>.<event>`; written by the gateway alone.

    Stream key and passphrase are encrypted (Vault, purposes "stream-key" and "passphrase").
    """

    account: AccountId
    event: HexId
    name: str = Field("", max_length=512)
    state: JobState
    revision: int = Field(0, ge=0)
    history: tuple[StateChange, ...] = Field((), max_length=1000)
    created_ms: Millis
    changed_ms: Millis
    finished_ms: Millis | None = None
    ending: Ending = Field(
        "", description="Why it finished: its encoder stayed away, it was asked to, or its length was over"
    )
    reconnect_time_s: int = Field(1800, ge=1, le=7200)
    event_length_s: int = Field(0, ge=0, le=93_600)
    dvr_window_s: int = Field(
        0, ge=0, le=86_400, description="Sliding window of live_dvr_sliding_window_duration; 0: all"
    )
    static: bool = False
    session: HexId | None = Field(None, description="The session that publishes, or published last")
    open_sessions: tuple[HexId, ...] = Field((), max_length=256, description="Begun and, as far as is known, not over")
    closed_sessions: tuple[ClosedSession, ...] = Field((), max_length=64, description="The last ones that are over")
    resumptions: tuple[Resumption, ...] = Field((), max_length=64, description="The last ones that were told of")
    closed_before_ms: Millis = Field(0, description="Sessions that began before are over unless they are open")
    media_end_ms: Millis | None = Field(None, description="When the last session ended that is over")
    announced: int = Field(-1, ge=-1, description="The last revision whose JobStateChanged is known to be out")
    stream_key: str = Field(description="Encrypted")
    passphrase: str = Field(description="Encrypted")
    fields: dict[str, Any] = Field(default_factory=dict, description="Brightcove's own fields, kept as they came")

    @property
    def ended(self) -> bool:
        """No publisher is let in any more."""
        return self.state in ENDED_STATES

    @property
    def accepts_publisher(self) -> bool:
        """A publisher may come or go on."""
        return self.state in {"standby", "waiting", "processing", "disconnected"}

    def may_go_on(self, take_up: TakeUp, kept: timedelta, at_ms: int) -> bool:
        """Tell whether an encoder that comes at a time takes a finished job up again, while its recording is kept.

        `away`: one that ended because its encoder stayed away; `any`: whatever ended it, but never a cancelled one.
        """
        if self.state != "finished" or take_up == "never" or (take_up == "away" and self.ending != "away"):
            return False
        return at_ms - self.changed_ms < kept // timedelta(milliseconds=1)


class IngestKey(Record):
    """Finds a job by its stream key: bucket `keys`, under `ingest.<sha256 of the key>`; the gateway's."""

    account: AccountId
    event: HexId


class ApiKeyRecord(Record):
    """An API key: bucket `keys`, under `api.<sha256 of the key>`; the gateway's."""

    account: AccountId
    key_id: HexId
    scopes: tuple[Scope, ...]
    label: str = Field("", max_length=128)
    created_ms: Millis
    expires_ms: Millis | None = None
    revoked: bool = False
    revoked_ms: Millis | None = None
    kept: bool = Field(False, description="Its text is kept elsewhere: the record stays, so that it is not made anew")


class SessionRecord(Record):
    """An ingest session, in the bucket `sessions` under `<account>.<event>.<session>`; the ingester's."""

    account: AccountId
    event: HexId
    session: HexId
    track: Track = "primary-1"
    protocol: Protocol
    instance: str = Field(max_length=64)
    holder: Holder | None = Field(None, description="Whose it was last")
    epoch: int = Field(0, ge=0, description="Of the last writer's lease; whoever holds a lower one may not write")
    resumed: int = Field(0, ge=0, description="The epoch at which it went on after it had been declared over")
    first_frame_ms: Millis
    origin_ms: int = Field(ge=0)
    zero: int = Field(0, ge=0, description="Tick at which the first frame is shown")
    lead: int = Field(0, ge=0, description="Tick at which the first frame is decoded; before it lies sound alone")
    ended_ms: Millis | None = None
    reason: EndReason | None = None
    segments: int = Field(0, ge=0)
    bytes: int = Field(0, ge=0)


class PublisherStatus(Record):
    """What one publisher does, in numbers: bucket `sessions` under `status_key`; the ingester writes it now and then.

    It says how things stood at `updated_ms`, and after the session's end how they were last, until a later one of the
    job takes the place.
    """

    account: AccountId
    event: HexId
    session: HexId
    protocol: Protocol
    peer: str = Field("", max_length=64, description="Address and port")
    since_ms: Millis
    updated_ms: Millis
    ended_ms: Millis | None = None
    reason: EndReason | None = None
    video_codec: str = ""
    audio_codec: str = ""
    width: int = Field(0, ge=0)
    height: int = Field(0, ge=0)
    frame_rate: float = Field(0, ge=0, description="Pictures a second by their time stamps, of the last seconds")
    sample_rate: int = Field(0, ge=0)
    channels: int = Field(0, ge=0)
    bitrate: int = Field(0, ge=0, description="Bits a second, of the last seconds")
    bytes: int = Field(0, ge=0)
    frames: int = Field(0, ge=0, description="Pictures")
    keyframes: int = Field(0, ge=0)
    last_keyframe_ms: Millis | None = None
    jumps: int = Field(0, ge=0, description="Jumps of the encoder's time stamps")
    damaged_frames: int = Field(0, ge=0, description="Frames that came incomplete or out of place, and were left out")
    dropped_frames: int = Field(0, ge=0, description="RTMP: frames before the sequence header that they need")
    lost_packets: int = Field(0, ge=0, description="SRT: packets that never came in time")
    unsupported: tuple[str, ...] = Field((), max_length=8, description="Tracks that cannot be recorded, for people")
    warnings: tuple[str, ...] = Field((), max_length=8, description="What is wrong, for people")


def status_key(account: str, event: str, number: int) -> str:
    """Give the key of one of a job's last publishers: four tokens, so that no pattern for sessions finds it."""
    return f"{status_prefix(account, event)}.{number}"


def status_prefix(account: str, event: str) -> str:
    """Give what the keys of an event's publishers begin with."""
    return f"_status.{account}.{event}"


class EventClock(Record):
    """Stream time's zero, in the bucket `sessions` under `clock_key`; made once by the ingester."""

    first_frame_ms: Millis


def clock_key(account: str, event: str) -> str:
    """Give the key of an event's clock: four tokens, so that no pattern for sessions finds it."""
    return f"_clock.{account}.{event}.zero"


class SegmentRun(Record):
    """Segments of one session and track without a hole, first and last included."""

    session: HexId
    track: Track
    first: int = Field(ge=0)
    last: int = Field(ge=0)


class LostHour(Record):
    """The index object that an hour had before not all of what it lists could be found again."""

    key: StoreKey
    sha256: Sha256
    segments: int = Field(ge=0, description="How many segments the hour has once all of them are found")


class HourSummary(Record):
    """A closed hour as the recording lists it. Times are the first start and the last end, in ms.

    As long as there is a `lost`, `runs` name what is missing, too, and the times span it.
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

    What is not in a closed hour is in SEGMENTS, from `log_sequence` + 1 on. `last` holds each track's newest numbered
    segment of the closed hours, from which numbering goes on. `expiring` hours are being deleted: nobody reads them.
    """

    account: AccountId
    event: HexId
    hours: tuple[HourSummary, ...] = Field((), max_length=20_000)
    expiring: tuple[HourSummary, ...] = Field((), max_length=20_000)
    log_sequence: int = Field(0, ge=0, description="Place in SEGMENTS of the last segment in a closed hour")
    last: tuple[IndexedSegment, ...] = Field((), max_length=6)
    longest_ms: int = Field(0, ge=0, description="Duration of the longest segment there ever was in a closed hour")
    expired_hours: int = Field(0, ge=0)
    changed_ms: Millis
