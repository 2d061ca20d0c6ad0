"""Messages about clips."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field

from shared.messages.base import (
    Accuracy,
    HexId,
    Message,
    Millis,
    Notification,
    Record,
    Sha256,
    StoreKey,
)
from shared.messages.destinations import MOST_DESTINATIONS, DestinationSpec, DestinationType
from shared.messages.edits import PictureEdit
from shared.messages.images import ClipImage, ImageWish
from shared.messages.ranges import AfterLive, Gap, MadeRange, ReelRange, Seconds, Selection

VodState = Literal[
    "waiting_finish_live",
    "waiting",
    "processing",
    "creating_asset",
    "finished",
    "cancelling",
    "cancelled",
    "failed",
    "error",
]
LONGEST_CLIP = timedelta(hours=48)
LONGEST_WAIT = timedelta(days=7)
"""How far ahead a clip's end may lie."""
ENCRYPTION_PURPOSE = "clip-encryption"
"""What the vault seals keys of clips for."""
MOST_RANGES = 100
"""How many ranges a reel joins at most."""
RANGE_LIFE = LONGEST_WAIT + timedelta(days=3)
"""How long a clip holds its source range at most, whatever becomes of it."""


class FacadeNote(Record):
    """What a facade says of a clip that it ordered: kept and passed on unread; its form in the notifier reads it."""

    facade: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="The facade's name, and its form's")
    document: dict[str, Any] = Field(description="A few hundred bytes of the facade's making, without secrets")


class ClipEncryption(Record):
    """How a clip's file is encrypted (ISO/IEC 23001-7)."""

    scheme: Literal["cenc"] = "cenc"
    kid: HexId
    key: str = Field(max_length=256, description='Sealed (Vault, purpose "clip-encryption"): 32 hex digits')


class ClipMessage(Message):
    """About one clip."""

    clip: HexId

    @property
    def subject_id(self) -> str:
        """Return the clip's id."""
        return self.clip


_OF_RANGE = tuple(ReelRange.model_fields)


class ClipCreate(ClipMessage):
    """Cut a clip: first the fast file, then the exact one."""

    channel: ClassVar[str] = "clips.create"

    event: HexId
    label: str = Field("", max_length=512)
    selection: Selection
    requested_ms: Millis
    live: bool = Field(description="The job was live when the clip was asked for")
    asked_duration: Seconds
    recorded_to: Seconds | None = Field(None, description="Stream time up to which there was a recording by then")
    wait: bool = False
    instant: bool = Field(default=False, description="A playlist of the recording's segments alone: no file is made")
    destinations: tuple[DestinationSpec, ...] = Field(min_length=1, max_length=MOST_DESTINATIONS)
    notifications: tuple[Notification, ...] = Field((), max_length=16)
    images: tuple[ImageWish, ...] = Field((), max_length=2, description="At most one of each kind")
    encryption: ClipEncryption | None = Field(None, description="Of the files; absent: they are clear")
    note: FacadeNote | None = Field(None, description="Of a facade that ordered it")
    zero: Seconds = Field(Fraction(0), description="Stream time at which the activation began that it is of")
    edit: PictureEdit | None = Field(None, description="What is done to its pictures; then there is no fast file")
    due_ms: Millis = Field(0, description="When it was to be taken up again, its end being in the future; 0: never")
    after_live: AfterLive | None = Field(None, description="Ordered with its job, which goes on: no range is known yet")
    settled: bool = Field(default=False, description="Ordered with its job, which has ended: its range is known by now")
    refused: str = Field("", max_length=1024, description="Why a settled clip has no range: it fails")
    ranges: tuple[ReelRange, ...] = Field(
        (), max_length=MOST_RANGES, description="Of a reel, in the order in which they play; `selection` is the first's"
    )

    @property
    def parts(self) -> tuple[ClipCreate, ...]:
        """Return an order for each range: a clip is a reel of one range."""
        if not self.ranges:
            return (self,)
        one = self.model_copy(update={"ranges": ()})
        return tuple(one.model_copy(update={name: getattr(part, name) for name in _OF_RANGE}) for part in self.ranges)

    @property
    def awaited(self) -> frozenset[str]:
        """The jobs whose going on it waits for: not those whose ranges lie in the past."""
        return frozenset(part.event for part in self.parts if part.wait or part.after_live is not None)

    @property
    def dedup_id(self) -> str:
        """Return one id per clip, one when its range is settled, and one per time that it was put off to."""
        again = f"-{self.due_ms}" if self.due_ms else "-settled" if self.settled else ""
        return f"clip-create-{self.clip}{again}"


class ClipStep(ClipMessage):
    """A step of the work on a clip, which is ordered once."""

    @property
    def dedup_id(self) -> str:
        """Return one id per clip."""
        return f"{self.channel.replace('clips.', 'clip-').replace('_', '-')}-{self.clip}"


class ClipRefine(ClipStep):
    """Cut the frame-accurate file of a clip whose fast file is there."""

    channel: ClassVar[str] = "clips.refine"


class ClipCopyLong(ClipStep):
    """Make the fast file of a long clip, behind other long ones."""

    channel: ClassVar[str] = "clips.copy_long"


class ClipRefineLong(ClipStep):
    """Cut the frame-accurate file of a clip that takes long, behind others that do."""

    channel: ClassVar[str] = "clips.refine_long"


class ClipPicture(ClipStep):
    """Make the images of a clip from its exact file."""

    channel: ClassVar[str] = "clips.picture"


class ClipCancel(ClipStep):
    """Stop the work on a clip."""

    channel: ClassVar[str] = "clips.cancel"

    at_ms: Millis


class ClipDelete(ClipStep):
    """Delete a clip that has ended: its files and its record. What was delivered elsewhere stays."""

    channel: ClassVar[str] = "clips.delete"

    at_ms: Millis


class ClipFile(Record):
    """A made file of a clip."""

    accuracy: Accuracy
    method: Literal["copy", "smart", "reencode"]
    key: StoreKey
    bytes: int = Field(ge=0)
    sha256: Sha256 | None = None
    in_point: Seconds = Field(description="Stream time of the first frame; of a reel, in the job of its first range")
    out_point: Seconds = Field(description="Stream time of the end of the last frame; of a reel, in its last one's job")
    duration: Seconds
    frames: int = Field(ge=0)
    reason: str = Field("", max_length=512, description="Why a re-encode was needed")
    in_timecode: str | None = Field(None, max_length=12, description="Of the first frame, where it has one")
    out_timecode: str | None = Field(None, max_length=12, description="Of the frame after the last one")
    ranges: tuple[MadeRange, ...] = Field((), description="Of a reel, in the order of its ranges")


class ClipDelivery(Record):
    """How far the delivery to one destination is."""

    export: HexId
    type: DestinationType = "library"
    shown: str = Field("", max_length=2048, description="Its URL without user, password and query")
    state: Literal["waiting", "delivering", "delivered", "failed", "aborted"] = "waiting"
    accuracy: Accuracy | None = Field(None, description="Of the file that is at the destination")
    location: str = Field("", max_length=2048, description="Where the destination has the file")
    error: str = Field("", max_length=1024)
    changed_ms: Millis = 0


class ClipRecord(Record):
    """The state of a clip, in the bucket `clips` under `<account>.<clip>`; written by the clipper alone."""

    account: str
    clip: HexId
    request: ClipCreate
    state: VodState
    state_revision: int = Field(0, ge=0)
    created_ms: Millis
    changed_ms: Millis
    finished_ms: Millis | None = None
    file: ClipFile | None = None
    gaps: tuple[Gap, ...] = ()
    images: tuple[ClipImage, ...] = Field(
        (), description="Those that have been begun; some may be made after the clip's end"
    )
    deliveries: tuple[ClipDelivery, ...] = Field((), description="In the order of the request's destinations")
    progress: int = Field(0, ge=0, le=100, description="Percent, as of the last time that it was told")
    error: str = Field("", max_length=1024)


class ClipEvent(ClipMessage):
    """The fields that events about a clip share."""

    event: HexId
    label: str = ""
    state: VodState
    at_ms: Millis
    notifications: tuple[Notification, ...] = ()
    note: FacadeNote | None = None
    file: ClipFile | None = None
    gaps: tuple[Gap, ...] = ()
    deliveries: tuple[ClipDelivery, ...] = ()
    error: str = ""


class ClipProgressed(ClipMessage):
    """More of a clip is made; told every few seconds at most, of clips that take longer."""

    channel: ClassVar[str] = "clips.progressed"

    event: HexId
    label: str = ""
    accuracy: Accuracy
    percent: int = Field(ge=0, le=100)
    at_ms: Millis

    @property
    def dedup_id(self) -> str:
        """Return one id per percent."""
        return f"clip-progress-{self.clip}-{self.percent}"


class ClipStateChanged(ClipEvent):
    """A clip is in another state."""

    channel: ClassVar[str] = "clips.state_changed"

    revision: int = Field(ge=0)

    @property
    def dedup_id(self) -> str:
        """Return one id per state change."""
        return f"clip-state-{self.clip}-{self.revision}"


class SegmentAccurateReady(ClipEvent):
    """The fast file of a clip can be downloaded."""

    channel: ClassVar[str] = "clips.segment_accurate.ready"

    @property
    def dedup_id(self) -> str:
        """Return one id per clip."""
        return f"clip-segment-{self.clip}"


class FrameAccurateReady(ClipEvent):
    """The exact file of a clip has replaced the fast one."""

    channel: ClassVar[str] = "clips.frame_accurate.ready"

    @property
    def dedup_id(self) -> str:
        """Return one id per clip."""
        return f"clip-frame-{self.clip}"
