"""Records of ingest sessions and publishers: the ingester's."""

from __future__ import annotations

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Record
from shared.messages.live import EndReason, Protocol
from shared.messages.media import Track
from shared.runtime.lease import Holder


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


class SoundTrack(Record):
    """A sound track that is recorded."""

    codec: str = Field(max_length=16)
    language: str = Field("", max_length=3, description="Three letters (ISO 639-2), if the stream tells it")
    sample_rate: int = Field(ge=0)
    channels: int = Field(ge=0)


class PublisherStatus(Record):
    """Statistics of one publisher: bucket `sessions` under `status_key`; the ingester writes it now and then.

    They are as of `updated_ms`, and stay after the session's end until a later session of the job replaces them.
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
    sounds: tuple[SoundTrack, ...] = Field(
        (), max_length=4, description="All sound tracks, the one played first, first"
    )
    bitrate: int = Field(0, ge=0, description="Bits a second, of the last seconds")
    bytes: int = Field(0, ge=0)
    frames: int = Field(0, ge=0, description="Pictures")
    keyframes: int = Field(0, ge=0)
    last_keyframe_ms: Millis | None = None
    jumps: int = Field(0, ge=0, description="Jumps of the encoder's time stamps")
    damaged_frames: int = Field(0, ge=0, description="Frames that came incomplete or out of order, and were left out")
    dropped_frames: int = Field(0, ge=0, description="RTMP: frames before the sequence header that they need")
    lost_packets: int = Field(0, ge=0, description="SRT: packets that never came in time")
    unsupported: tuple[str, ...] = Field((), max_length=8, description="Tracks that cannot be recorded, for people")
    warnings: tuple[str, ...] = Field((), max_length=8, description="What is wrong, for people")


def status_key(account: str, event: str, number: int) -> str:
    """Return the key of one of a job's last publishers: four tokens, so that no pattern for sessions matches it."""
    return f"{status_prefix(account, event)}.{number}"


def status_prefix(account: str, event: str) -> str:
    """Return the prefix of the keys of an event's publishers."""
    return f"_status.{account}.{event}"


class EventClock(Record):
    """Stream time's zero, in the bucket `sessions` under `clock_key`; made once by the ingester."""

    first_frame_ms: Millis


def clock_key(account: str, event: str) -> str:
    """Return the key of an event's clock: four tokens, so that no pattern for sessions matches it."""
    return f"_clock.{account}.{event}.zero"
