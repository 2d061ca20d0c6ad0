"""Commands about restreams: one channel, so that their order is kept; one model for each verb (ADR 13)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.messages.base import HexId, Millis, Record
from shared.messages.restreams import (
    MOST_ITEMS,
    MOST_TARGETS,
    Flicks,
    Playlist,
    RestreamMessage,
    RestreamSpec,
    Target,
    TargetId,
)
from shared.messages.subscriptions import Subscription


class Start(Record):
    """Play a list from its beginning, now or at its start time; a running restream of this id is stopped first."""

    verb: Literal["start"] = "start"
    spec: RestreamSpec


class Resume(Record):
    """End a pause, add ended targets again, or continue where the restream was stopped.

    The list may be another one; `loops`, `first`, `live` and `tries` stay.
    """

    verb: Literal["resume"] = "resume"
    spec: RestreamSpec | None = Field(None, description="None: as it was")
    reset: dict[TargetId, Target] = Field(default_factory=dict, description="Another URL for a target")


class Update(Playlist):
    """Play another list. Times, encoding, live event and subscription change only if they are set."""

    verb: Literal["update"] = "update"
    wait_current: bool = Field(default=False, description="After the file that plays")


class Stop(Record):
    """End the restream, or some of its targets."""

    verb: Literal["stop"] = "stop"
    only: tuple[TargetId, ...] = Field((), max_length=MOST_TARGETS, description="These; none: all")
    subscription: Subscription | None = Field(None, description="Whom to tell from now on")


class Retarget(Record):
    """Send to these targets from now on."""

    verb: Literal["targets"] = "targets"
    targets: tuple[Target, ...] = Field(min_length=1, max_length=MOST_TARGETS)


class Pause(Record):
    """Send nothing until it is resumed."""

    verb: Literal["pause"] = "pause"


class Skip(Record):
    """Continue with the next item."""

    verb: Literal["skip"] = "skip"


class Seek(Record):
    """Continue at a position in an item."""

    verb: Literal["seek"] = "seek"
    item: int = Field(ge=0, lt=MOST_ITEMS)
    at: Flicks = 0


class Begin(Record):
    """Start a scheduled run; sent by the clock at its start time."""

    verb: Literal["begin"] = "begin"
    run: int = Field(description="The run that it is for")


class Finish(Record):
    """End a run; sent by the clock at its end time."""

    verb: Literal["finish"] = "finish"
    run: int = Field(description="The run that it is for")


Order = Start | Resume | Update | Stop | Retarget | Pause | Skip | Seek | Begin | Finish
Verb = Literal[
    "start", "resume", "update", "stop", "targets", "pause", "skip", "seek", "begin", "finish"
]  # fmt: skip


class RestreamCommand(RestreamMessage):
    """A command of a client or of the clock."""

    channel: ClassVar[str] = "restreams.command"

    command: HexId = Field(description="Random for a client's wish; derived from run and verb for the clock's")
    at_ms: Millis
    order: Annotated[Order, Field(discriminator="verb")]

    @property
    def dedup_id(self) -> str:
        """An id that is the same for the same command."""
        return f"restream-{self.command}"

    @property
    def verb(self) -> Verb:
        """The verb of the order."""
        return self.order.verb

    @property
    def spec(self) -> RestreamSpec | None:
        """The spec of a new run, if the order has one."""
        return self.order.spec if isinstance(self.order, Start | Resume) else None

    @property
    def playlist(self) -> Playlist | None:
        """The playlist, if the order has one."""
        return self.order if isinstance(self.order, Update) else self.spec

    @property
    def subscription(self) -> Subscription | None:
        """The subscription, if the order has one."""
        said = self.order if isinstance(self.order, Stop) else self.playlist
        return said.subscription if said else None
