"""Commands about restreams: one channel, so that their order is kept; one model a verb (ADR 13)."""

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
    """Play a list from its beginning, now or at its time; what plays under this id is stopped before."""

    verb: Literal["start"] = "start"
    spec: RestreamSpec


class Resume(Record):
    """End a pause, give back targets that were ended, or go on where a stop was.

    A list may have changed; how often it plays, its first item, the live event and `tries` stay.
    """

    verb: Literal["resume"] = "resume"
    spec: RestreamSpec | None = Field(None, description="None: as it was")
    reset: dict[TargetId, Target] = Field(default_factory=dict, description="Another URL for a target")


class Update(Playlist):
    """Play another list. Of clock, encoding, live event and subscription that counts which is set."""

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
    """Go on with the next item."""

    verb: Literal["skip"] = "skip"


class Seek(Record):
    """Go on at a moment of an item."""

    verb: Literal["seek"] = "seek"
    item: int = Field(ge=0, lt=MOST_ITEMS)
    at: Flicks = 0


class Begin(Record):
    """Its start's time has come: the clock's."""

    verb: Literal["begin"] = "begin"
    run: int = Field(description="The run that it is for")


class Finish(Record):
    """Its end's time has come: the clock's."""

    verb: Literal["finish"] = "finish"
    run: int = Field(description="The run that it is for")


Order = Start | Resume | Update | Stop | Retarget | Pause | Skip | Seek | Begin | Finish
Verb = Literal[
    "start", "resume", "update", "stop", "targets", "pause", "skip", "seek", "begin", "finish"
]  # fmt: skip


class RestreamCommand(RestreamMessage):
    """A wish of a client or of the clock."""

    channel: ClassVar[str] = "restreams.command"

    command: HexId = Field(description="Random for a client's wish; derived from run and verb for the clock's")
    at_ms: Millis
    order: Annotated[Order, Field(discriminator="verb")]

    @property
    def dedup_id(self) -> str:
        """One per wish."""
        return f"restream-{self.command}"

    @property
    def verb(self) -> Verb:
        """What is to be done."""
        return self.order.verb

    @property
    def spec(self) -> RestreamSpec | None:
        """What a new run is to be, where it says so."""
        return self.order.spec if isinstance(self.order, Start | Resume) else None

    @property
    def playlist(self) -> Playlist | None:
        """What is to play, where it says so."""
        return self.order if isinstance(self.order, Update) else self.spec

    @property
    def subscription(self) -> Subscription | None:
        """Whom to tell, where it says so."""
        said = self.order if isinstance(self.order, Stop) else self.playlist
        return said.subscription if said else None
