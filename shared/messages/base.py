"""What every message has."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

AccountId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
HexId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Millis = Annotated[int, Field(description="Wall clock, ms since the epoch, UTC")]
Ticks = Annotated[int, Field(ge=0, description="Media time in ticks of the track's timescale")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
StoreKey = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=512),
]
Accuracy = Literal["segment", "frame"]


class Record(BaseModel):
    """A part of a message, or a value in a bucket. Unknown fields are ignored, so that old readers read new writers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


NotifyEvent = Literal["first_segment_uploaded", "output_finished", "state_changed", "rtmp_output_state_changed"]


class Notification(Record):
    """A receiver that a request names, and that is notified of what it makes: a clip, or a live job and its outputs."""

    url: str = Field(max_length=3072, description="Sealed: many receivers' URLs hold a token")
    event: NotifyEvent = "state_changed"
    credentials: str | None = Field(None, max_length=128, description="Id of those that give tokens")
    form: str = Field("standard", pattern=r"^[a-z][a-z0-9_]{0,31}$", description="How it is told")


class Message(Record):
    """A command or an event. `channel` names its channel in contracts/asyncapi.yaml.

    The subject is `<channel>.<account>.<subject id>`.
    """

    channel: ClassVar[str]

    account: AccountId

    @property
    def subject_id(self) -> str:
        """Return the id that ends the subject: that of the resource that the message is about."""
        raise NotImplementedError  # each message defines it

    @property
    def dedup_id(self) -> str:
        """Return the deterministic Nats-Msg-Id: equal for a retry of the same fact, different for another fact."""
        raise NotImplementedError  # each message defines it
