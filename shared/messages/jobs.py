"""Records of live jobs: the gateway's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Notification, Record
from shared.messages.live import JobState, SepState
from shared.runtime.settings import TakeUp

Ending = Literal["", "away", "asked", "length"]
ENDED_STATES: frozenset[str] = frozenset({"finished", "cancelled", "failed", "error"})


class StateChange(Record):
    """A state that a job entered."""

    state: JobState
    at_ms: Millis
    sep_state: SepState = "none"


class EntryPoint(Record):
    """The activations of a static entry point: publishers are admitted while it is active."""

    state: Literal["inactive", "active", "deactivating"] = "inactive"
    number: int = Field(0, ge=0, description="Counts activations")
    activated_ms: Millis = 0
    first_ms: Millis | None = Field(None, description="When this activation's first frame arrived")
    origin_ms: int = Field(0, ge=0, description="Stream time of that frame")


class ClosedSession(Record):
    """A session that is over."""

    session: HexId
    at_ms: Millis


class Resumption(Record):
    """A session that resumed after it had been declared over."""

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
    entry: EntryPoint | None = Field(None, description="None: not a static entry point, or one that is always active")
    notifications: tuple[Notification, ...] = Field((), max_length=16)
    session: HexId | None = Field(None, description="The session that publishes, or published last")
    open_sessions: tuple[HexId, ...] = Field((), max_length=256, description="Begun and, as far as is known, not over")
    closed_sessions: tuple[ClosedSession, ...] = Field((), max_length=64, description="The last ones that are over")
    resumptions: tuple[Resumption, ...] = Field((), max_length=64, description="The last ones that were told of")
    closed_before_ms: Millis = Field(0, description="Sessions that began before are over unless they are open")
    media_end_ms: Millis | None = Field(None, description="When the last session ended that is over")
    announced: int = Field(-1, ge=-1, description="The last revision whose JobStateChanged is known to be out")
    encrypted: bool | None = Field(None, description="Whether its recording is encrypted; null: as the setting says")
    stream_key: str = Field(description="Encrypted")
    passphrase: str = Field(description="Encrypted")
    on_publish: str = Field("", max_length=4096, description="URL that is asked about publishers, sealed; empty: none")
    stream: str = Field("", max_length=256, description="The name of the job that the URL is told")
    fields: dict[str, Any] = Field(default_factory=dict, description="Other fields, kept as they came")

    @property
    def ended(self) -> bool:
        """Return whether no publisher is let in any more."""
        return self.state in ENDED_STATES

    @property
    def broadcast_over(self) -> bool:
        """Return whether nothing more is recorded, or, of a static job, nothing of the broadcast that was last."""
        return self.ended or (self.state in {"waiting", "standby"} and self.session is not None)

    @property
    def sep_state(self) -> SepState:
        """Return the state of a static entry point: ready when nothing is in progress, whether active or not."""
        if not self.static:
            return "none"
        if self.ended:
            return "cancelled" if self.state == "cancelled" else "finished"
        return "deactivation_in_progress" if self.entry and self.entry.state == "deactivating" else "ready"

    @property
    def is_inactive(self) -> bool:
        """Return whether a static entry point admits no publisher because it is not active."""
        return self.entry is not None and self.entry.state != "active"

    @property
    def accepts_publisher(self) -> bool:
        """Return whether a publisher may connect or continue."""
        return self.state in {"standby", "waiting", "processing", "disconnected"} and not self.is_inactive

    def may_go_on(self, take_up: TakeUp, kept: timedelta, at_ms: int) -> bool:
        """Return whether an encoder that connects at `at_ms` resumes a finished job, while its recording is kept.

        `away`: a job that ended because its encoder stayed away; `any`: however it ended, but never a cancelled job.
        """
        if self.state != "finished" or take_up == "never" or (take_up == "away" and self.ending != "away"):
            return False
        return at_ms - self.changed_ms < kept // timedelta(milliseconds=1)
