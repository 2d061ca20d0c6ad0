"""Messages about restreams: recordings played out as live channels (ADR 13).

URLs in messages are sealed (shared.security.webhooks.seal_url), with a redacted form for people beside them.
Positions in files are flicks: 1/705,600,000 s; every common frame and sample duration is a whole number of them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from shared.messages.base import AccountId, HexId, Message, Millis, Record
from shared.messages.outputs import OutputOf
from shared.messages.subscriptions import SubscribedEvent, Subscription

FLICKS = 705_600_000  # a second
MOST_ITEMS, MOST_TARGETS, MOST_RANGES = 500, 32, 64
WIDEST, HIGHEST, LONGEST = 7680, 4320, 86_400 * 366  # pixels, s

Sealed = Annotated[str, StringConstraints(max_length=3072)]
Shown = Annotated[str, StringConstraints(max_length=2048)]
Flicks = Annotated[int, Field(ge=0, le=FLICKS * LONGEST, description="1/705,600,000 s")]
TargetId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Corner = Literal[
    "TOP_LEFT", "TOP_CENTER", "TOP_RIGHT", "CENTER_LEFT", "CENTER", "CENTER_RIGHT",
    "BOTTOM_LEFT", "BOTTOM_CENTER", "BOTTOM_RIGHT",
]  # fmt: skip
State = Literal["scheduled", "starting", "playing", "paused", "stopped", "ended", "failed"]
TargetState = Literal["connecting", "ready", "live", "waiting", "failed", "removed"]


class Source(Record):
    """The location of a file: a sealed http(s) URL, s3://bucket/key, a library path, or the id of a clip or live event.

    `recording` plays an event from its first frame, `live` a session from its newest keyframe, `job` all until its end.
    """

    kind: Literal["url", "s3", "library", "clip", "recording", "live", "job"]
    location: Sealed
    shown: Shown = Field(description="For people: without password, query or token")
    credentials: str = Field("", max_length=128, description="Name of stored credentials, for s3")


class Range(Record):
    """A part of a file, in flicks from its start or by wall clock; end None: the end of the file."""

    clock: Literal["file", "wall"] = "file"
    start: int = Field(0, ge=0, description="Flicks, or ms since the epoch on the wall clock")
    end: int | None = Field(None, gt=0)


class Watermark(Record):
    """A picture laid over the video; margin in pixels, scale in percent of the picture's width (0: its own size)."""

    source: Source
    corner: Corner = "TOP_LEFT"
    margin: int = Field(16, ge=0, le=1024)
    scale: int = Field(0, ge=0, le=100)
    opacity: int = Field(100, ge=1, le=100, description="Percent")


class Item(Record):
    """A file of the list, and the parts of it to play, in order; none: all of it."""

    source: Source
    ranges: tuple[Range, ...] = Field((), max_length=MOST_RANGES)
    watermark: Watermark | None = None


class Target(Record):
    """A destination of the stream: rtmp(s)://, srt:// (mode=listener in the query waits for a caller)."""

    target: TargetId = Field(description="Keyed hash of the URL")
    url: Sealed
    shown: Shown
    instead_of: TargetId | None = Field(None, description="The target whose name it answers to besides (resetUrl)")


class Encoding(Record):
    """The encoding of all output; a value of None: as in the first file."""

    video: Literal["libx264", "libx265", "libvpx", "libvpx-vp9"] = "libx264"
    audio: Literal["aac", "libmp3lame", "libopus"] = "aac"
    kbps: int | None = Field(None, ge=50, le=100_000)
    width: int | None = Field(None, ge=16, le=WIDEST)
    height: int | None = Field(None, ge=16, le=HIGHEST)
    rate_num: int | None = Field(None, ge=1, le=240_000)
    rate_den: int = Field(1, ge=1, le=1001)


class LiveInsert(Record):
    """A live event that plays in place of the list while it is live; `back`: the list continues after it."""

    event: HexId
    back: bool = True


class Playlist(Record):
    """The files to play, from when to when, and the subscription to events about them."""

    items: tuple[Item, ...] = Field(min_length=1, max_length=MOST_ITEMS)
    loops: int = Field(0, ge=0, le=1_000_000, description="How often the list plays; 0: until it is stopped")
    first: int = Field(0, ge=0, lt=MOST_ITEMS, description="Index of the item that the first loop begins with")
    start_ms: Millis | None = None
    end_ms: Millis | None = None
    encoding: Encoding | None = None
    live: LiveInsert | None = None
    subscription: Subscription | None = None


class RestreamSpec(Playlist):
    """A restream's playlist and targets."""

    name: str = Field("", max_length=256)
    targets: tuple[Target, ...] = Field(min_length=1, max_length=MOST_TARGETS)
    tries: int = Field(3, ge=0, le=100, description="Calls to a target before it is paused for longer")
    output: OutputOf | None = Field(None, description="The live job that it is an output of")


class PlaylistCursor(Record):
    """The position of the next picture: item, range in it, loop (0-based), and flicks from the file's start."""

    item: int = Field(0, ge=0)
    range: int = Field(0, ge=0)
    loop: int = Field(0, ge=0)
    at: Flicks = 0


class Move(Record):
    """A request to play from another position; numbered, so that each is done once. Item -1: the next one (skip)."""

    number: int = Field(ge=0)
    item: int = Field(-1, ge=-1)
    at: Flicks = 0


class RestreamMessage(Message):
    """A message about one restream."""

    restream: HexId

    @property
    def subject_id(self) -> str:
        """The restream's id."""
        return self.restream


class TargetStatus(Record):
    """The status of one target.

    `connecting`; `ready`: connected, nothing was sent yet; `live`: media is sent to it; `waiting`: the connection was
    lost or failed, and is tried again soon; `failed`: tried again after long pauses; `removed`.
    """

    target: TargetId
    shown: Shown
    state: TargetState
    since_ms: Millis
    error: str = Field("", max_length=512)
    connects: int = 0
    sent_bytes: int = 0
    dropped: int = Field(0, description="Units that it did not take in time")
    unsent: bool = Field(default=False, description="Nothing was sent over this connection yet")


class PlayoutRecord(Record):
    """A restream's progress, and its lease: bucket `playouts`, key `<account>.<restream>`; its holder writes it."""

    account: AccountId
    restream: HexId
    run: int
    holder: str = Field(description="The instance; empty: nobody")
    host: str = ""
    pid: int = 0
    started: int = Field(0, description="When that process began; 0: not known")
    token: str = Field("", description="Random, one a process")
    cursor: PlaylistCursor
    spec_number: int = 0
    moved: int = Field(0, description="The last move that was done")
    source: str = Field(
        "", max_length=64, description="Keyed hash of the file's source, by which a list is searched for it"
    )
    played_ms: int = Field(0, ge=0, description="Programme sent in this run")
    at_ms: Millis
    number: int = Field(0, description="Of the holder's last event")
    file: str = Field("", max_length=2048, description="What plays, for people")
    how: str = Field("", max_length=64, description="copied, conformed or transcoded")
    live: bool = Field(default=False, description="The live event plays")
    targets: tuple[TargetStatus, ...] = ()


class RestreamEvent(RestreamMessage, SubscribedEvent):
    """An event of a restream; `number` grows with each event of one channel and run."""

    run: int
    number: int = Field(ge=0)
    at_ms: Millis
    output: OutputOf | None = None

    @property
    def dedup_id(self) -> str:
        """An id that is the same for the same event of a run."""
        return f"{self.channel}-{self.restream}-{self.run}-{self.number}"


class RestreamStateChanged(RestreamEvent):
    """A restream has another state."""

    channel: ClassVar[str] = "restreams.state_changed"

    name: str = ""
    state: State
    reason: str = Field("", max_length=512)
    targets: tuple[Target, ...] = Field((), description="Whom it concerns")
    missed: tuple[TargetId, ...] = Field(
        (), max_length=MOST_TARGETS, description="At a run's end: targets to which nothing was sent"
    )
    broken: tuple[TargetId, ...] = Field(
        (), max_length=MOST_TARGETS, description="At a run's end: targets that were lost, and not reached again"
    )


class RestreamTargetChanged(RestreamEvent):
    """A target has another state. When it breaks repeatedly, `live` is published only after the connection lasts."""

    channel: ClassVar[str] = "restreams.target.state_changed"

    status: TargetStatus
    target: Target
    again: bool = Field(default=False, description="Media was sent to it before in this run")


class RestreamFileStarted(RestreamEvent):
    """The next file of the list plays."""

    channel: ClassVar[str] = "restreams.file.started"

    item: int
    loop: int
    live: bool = Field(default=False, description="It is the live event, in the list's place")
    shown: Shown
    how: Literal["copied", "conformed", "transcoded"]
    reason: str = Field("", max_length=512, description="Why it is not copied")
    video: str = Field("", max_length=64)
    audio: str = Field("", max_length=64)
    width: int = 0
    height: int = 0
    rate: str = Field("", description="Frames per second, n or n/d")
    duration: Flicks | None = None
    job: HexId | None = Field(None, description="The live job that it is, or is a recording of")
    targets: tuple[Target, ...] = Field((), description="Whom it concerns")


class RestreamWarned(RestreamEvent):
    """Something went wrong that did not end the restream."""

    channel: ClassVar[str] = "restreams.warned"

    item: int | None = None
    shown: Shown = ""
    text: str = Field(max_length=512)
    refused: HexId | None = Field(None, description="The command that changed nothing")
    job: HexId | None = Field(None, description="The live job whose recording it concerns")
    targets: tuple[Target, ...] = Field((), description="Whom it concerns")


class StateNews(Record):
    """A state that was entered and whose event is still to be published."""

    number: int
    state: State
    reason: str = Field("", max_length=512)
    at_ms: Millis


class RestreamRecord(Record):
    """The desired state of a restream: bucket `restreams`, key `<account>.<restream>`; the restreamer writes it."""

    account: AccountId
    restream: HexId
    run: int = Field(1, ge=1, description="Counts starts and resumes")
    spec: RestreamSpec
    spec_number: int = Field(0, ge=0, description="Counts updates of the list")
    wait_current: bool = False
    state: State
    reason: str = Field("", max_length=512, description="Why it is in this state")
    paused: bool = False
    move: Move = Move(number=0)
    chain: int = Field(1, ge=1, description="The first of the runs that this one resumes; its own number: none")
    created_ms: Millis
    changed_ms: Millis
    started_ms: Millis | None = None
    finished_ms: Millis | None = None
    commands: tuple[HexId, ...] = Field((), max_length=64, description="The last ones applied")
    reached: tuple[TargetId, ...] = Field((), max_length=256, description="Targets to which media was sent in this run")
    broken: tuple[TargetId, ...] = Field((), max_length=256, description="Those of them that were lost since")
    number: int = Field(0, description="Of the last event about its state")
    untold: tuple[StateNews, ...] = Field((), max_length=8)
