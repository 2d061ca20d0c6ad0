"""Messages about live events and their ingest sessions."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from shared.messages.base import HexId, Message, Millis, Notification

Protocol = Literal["rtmp", "srt"]
EndReason = Literal["disconnected", "unpublished", "silent", "bad_media", "stopped", "disk_full", "replaced", "killed"]
JobState = Literal[
    "standby",
    "waiting",
    "processing",
    "disconnected",
    "finishing",
    "finished",
    "cancelling",
    "cancelled",
    "failed",
    "error",
]


SepState = Literal[
    "none",
    "ready",
    "pending_activation",
    "activation_in_progress",
    "pending_deactivation",
    "deactivation_in_progress",
    "cancelled",
    "finished",
]
RESUMED = "0; when the session went on after it had been declared over, a number that rises each time"


class LiveMessage(Message):
    """About one live event."""

    event: HexId

    @property
    def subject_id(self) -> str:
        """Return the event's id."""
        return self.event


class SessionStarted(LiveMessage):
    """A publisher was let in and its first frame was read."""

    channel: ClassVar[str] = "live.session.started"

    session: HexId
    protocol: Protocol
    at_ms: Millis
    origin_ms: int = Field(ge=0, description="Stream time of the session's first frame")
    resumed: int = Field(0, ge=0, description=RESUMED)

    @property
    def dedup_id(self) -> str:
        """Return one id per session and per resumption."""
        return f"started-{self.session}{_again(self.resumed)}"


class SessionEnded(LiveMessage):
    """A session is over; all its segments have been published before."""

    channel: ClassVar[str] = "live.session.ended"

    session: HexId
    at_ms: Millis
    reason: EndReason
    segments: int = Field(ge=0)
    bytes: int = Field(ge=0)
    resumed: int = Field(0, ge=0, description=RESUMED)

    @property
    def dedup_id(self) -> str:
        """Return one id per session and per resumption."""
        return f"ended-{self.session}{_again(self.resumed)}"


def _again(resumed: int) -> str:
    return f"-{resumed}" if resumed else ""


class SessionWarned(LiveMessage):
    """A publisher sends tracks that cannot be recorded; if it has no others, its session ends at once."""

    channel: ClassVar[str] = "live.session.warned"

    session: HexId
    protocol: Protocol
    at_ms: Millis
    tracks: tuple[str, ...] = Field(max_length=8, description="What is not recorded, for people: `AV1 video`")
    recorded: bool = Field(description="The session's other tracks are recorded; false: it has none")

    @property
    def dedup_id(self) -> str:
        """Return one id per session and number of tracks (it only grows); for a refused one, per job and 10 minutes."""
        if self.recorded:
            return f"warned-{self.session}-{len(self.tracks)}"
        return f"warned-{self.event}-{len(self.tracks)}-{self.at_ms // 600_000}"


class LiveFinish(LiveMessage):
    """End the live event, because its encoder stayed away (`session` is then its last session) or its time is over."""

    channel: ClassVar[str] = "live.finish"

    session: HexId | None = None
    reason: Literal["reconnect_time", "event_length", "first_publish"]
    at_ms: Millis
    resumed: int = Field(0, ge=0, description="Of the session's end: one that went on since then is not over")

    @property
    def dedup_id(self) -> str:
        """Return one id per reason and session, and per resumption."""
        return f"finish-{self.event}-{self.reason}-{self.session or ''}{_again(self.resumed)}"


class JobStateChanged(LiveMessage):
    """A live job is in another state."""

    channel: ClassVar[str] = "live.job.state_changed"

    state: JobState
    previous: JobState | None = None
    at_ms: Millis
    name: str = Field("", max_length=512)
    revision: int = Field(ge=0, description="Counts the job's states, from 0")
    sep_state: SepState = Field("none", description="Of a static entry point")
    notifications: tuple[Notification, ...] = Field((), description="Receivers that the job's own request names")

    @property
    def dedup_id(self) -> str:
        """Return one id per state change."""
        return f"job-{self.event}-{self.revision}"
