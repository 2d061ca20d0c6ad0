"""Request and response bodies of restreams."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, WithJsonSchema, field_validator

from services.gateway.domain.restreams.values import RATE
from services.gateway.http.bodies import ExactSeconds, no_boolean
from shared.messages.restreams import HIGHEST, MOST_ITEMS, MOST_RANGES, MOST_TARGETS, WIDEST, Corner, State, TargetState

Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


def _rate(value: Any) -> Any:
    """Accept a number in place of its text."""
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


Rate = Annotated[
    str,
    BeforeValidator(_rate),
    StringConstraints(pattern=RATE, strip_whitespace=True),
    WithJsonSchema({"type": ["string", "number"], "description": "As 25, 29.97 or 30000/1001"}),
]
LATEST: Final = 10**14


class RangeAsk(BaseModel):
    """A part of a file: s from its start, or wall clock in ms since the epoch (recordings)."""

    start: ExactSeconds | None = None
    end: ExactSeconds | None = None
    wall_start: int | None = Field(None, ge=0, le=LATEST)
    wall_end: int | None = Field(None, ge=0, le=LATEST)

    _whole = field_validator("wall_start", "wall_end", mode="before")(no_boolean)


class WatermarkAsk(BaseModel):
    """A picture laid over the video."""

    url: Url
    position: Corner = "TOP_LEFT"
    margin: int = Field(16, ge=0, le=1024, description="Pixels")
    scale: int = Field(0, ge=0, le=100, description="Percent of the video's width; 0: the picture's own size")
    opacity: int = Field(100, ge=1, le=100, description="Percent")
    credentials: str = Field("", max_length=128)


class SourceAsk(BaseModel):
    """A file of the list."""

    url: Url = Field(
        description="http(s)://, s3://bucket/key, reelay:clip/<id>, reelay:recording/<job id> or reelay:library/<path>"
    )
    ranges: list[RangeAsk] = Field([], max_length=MOST_RANGES, description="Parts to play, in order; none: all of it")
    watermark: WatermarkAsk | None = None
    credentials: str = Field("", max_length=128, description="Name of stored credentials, for s3://")


class TargetAsk(BaseModel):
    """Where the stream goes."""

    url: Url = Field(description="rtmp(s)://host/app/key or srt://host:port?streamid=...")


class EncodingAsk(BaseModel):
    """The encoding of all output; an absent value is that of the first file."""

    video_codec: Literal["libx264", "libx265", "libvpx", "libvpx-vp9"] = "libx264"
    audio_codec: Literal["aac", "libmp3lame", "libopus"] = "aac"
    kbps: int | None = Field(None, ge=50, le=100_000)
    width: int | None = Field(None, ge=16, le=WIDEST, multiple_of=2)
    height: int | None = Field(None, ge=16, le=HIGHEST, multiple_of=2)
    frame_rate: Rate | None = None


class LiveAsk(BaseModel):
    """A live job of ours that plays in place of the list while it is live."""

    job_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    back: bool = Field(default=True, description="The list goes on after it; false: the restream ends then")


class RestreamCreate(BaseModel):
    """A new restream: a list of files played out as live."""

    name: str = Field("", max_length=256)
    sources: list[SourceAsk] = Field(min_length=1, max_length=MOST_ITEMS)
    targets: list[TargetAsk] = Field(min_length=1, max_length=MOST_TARGETS)
    loop: int = Field(0, ge=0, le=1_000_000, description="How often the list plays; 0: until it is stopped")
    index: int = Field(1, ge=1, le=MOST_ITEMS, description="The source that the first loop begins with, from 1")
    start_time: int | None = Field(None, ge=0, le=LATEST, description="ms since the epoch; past or absent: now")
    end_time: int | None = Field(None, ge=0, le=LATEST, description="ms since the epoch")
    encoding: EncodingAsk | None = None
    live: LiveAsk | None = None
    retries: int = Field(3, ge=0, le=100, description="Quick calls to a target that fails, before pauses grow")

    _whole = field_validator("loop", "index", "start_time", "end_time", "retries", mode="before")(no_boolean)


class ListUpdate(BaseModel):
    """Another list for a restream."""

    sources: list[SourceAsk] = Field(min_length=1, max_length=MOST_ITEMS)
    loop: int = Field(0, ge=0, le=1_000_000)
    index: int = Field(1, ge=1, le=MOST_ITEMS)
    wait_current: bool = Field(default=False, description="After the file that plays; otherwise at once")

    _whole = field_validator("loop", "index", mode="before")(no_boolean)


class TargetsUpdate(BaseModel):
    """The new targets of a restream; they replace all others."""

    targets: list[TargetAsk] = Field(min_length=1, max_length=MOST_TARGETS)


class SeekAsk(BaseModel):
    """The position at which a restream continues."""

    source: int = Field(ge=1, le=MOST_ITEMS, description="From 1")
    position: ExactSeconds | None = Field(None, description="s from the file's start; absent: its beginning")

    _whole = field_validator("source", mode="before")(no_boolean)


class TargetView(BaseModel):
    """The state of a target."""

    id: str
    url: str = Field(description="Without its stream key")
    state: TargetState
    since: int | None
    error: str
    connects: int
    sent_bytes: int
    dropped: int


class PositionView(BaseModel):
    """The current position: source and range from 1, loop from 1, s from the file's start."""

    source: int
    range: int
    loop: int
    position: float
    file: str
    how: str = Field(description="copied, conformed or transcoded")
    live: bool
    played: float = Field(description="s of programme in this run")
    at: int = Field(description="ms since the epoch")


class RestreamView(BaseModel):
    """A restream."""

    id: str
    name: str
    account_id: str
    state: State
    reason: str
    run: int
    sources: list[str]
    targets: list[TargetView]
    position: PositionView | None
    loop: int
    index: int
    encoding: EncodingAsk | None
    live: LiveAsk | None
    retries: int
    start_time: int | None
    end_time: int | None
    created_at: int
    modified_at: int
    started_at: int | None
    finished_at: int | None


class RestreamList(BaseModel):
    """A page of restreams."""

    restreams: list[RestreamView]
    next_token: str | None
