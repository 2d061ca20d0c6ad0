"""Ranges of recordings, in messages: asked, made, missing. Times are exact: a Fraction travels as the string "n/d"."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from shared.messages.base import AccountId, HexId, Millis, Record


def _fraction(value: Any) -> Fraction:
    if isinstance(value, (str, int, Fraction)) and not isinstance(value, bool):
        return Fraction(value)
    msg = "a fraction is a string n/d"
    raise ValueError(msg)


Seconds = Annotated[
    Fraction,
    BeforeValidator(_fraction),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(/\d+)?$", "description": "Exact seconds, n or n/d"}),
]


class Selection(Record):
    """A part of a recording by either clock, in point included, out point excluded."""

    clock: Literal["stream", "wall"]
    start: Seconds
    end: Seconds
    held: Literal["both", "start", "end"] = Field(
        "both", description="The point that counts where the wall clock steps in between: a duration goes with it"
    )


class ReelRange(Record):
    """One range of a reel, which has what a clip of it alone would have."""

    event: HexId
    selection: Selection
    asked_duration: Seconds
    live: bool
    recorded_to: Seconds | None = None
    wait: bool = False
    zero: Seconds = Field(Fraction(0), description="Stream time at which the activation began that it is of")


class AfterLive(Record):
    """The range of a clip that was ordered with its job, as it was asked for: it is resolved when the job has ended."""

    clock: Literal["stream", "wall", "timecode"] | None = Field(None, description="None: the last seconds")
    start: str | None = Field(None, max_length=64, description="s as n or n/d, or a timecode")
    end: str | None = Field(None, max_length=64, description="s as n or n/d, or a timecode")
    duration: Seconds | None = None
    names: tuple[str, str, str] = Field(description="Of start, end and duration in the request, for errors")


class Gap(Record):
    """A part of a selection that the file lacks: all tracks (what follows moves up), or one track alone.

    Where only video is missing the last picture stays on show, where only audio is missing there is silence.
    """

    start: Seconds
    duration: Seconds
    track: Literal["all", "video", "audio"] = "all"
    range: int = Field(0, ge=0, description="Position of the range in a reel, whose job's stream time it is")


class MadeRange(Record):
    """What a reel's file has of one of its ranges; all 0 where nothing of it was recorded."""

    in_point: Seconds = Fraction(0)
    out_point: Seconds = Fraction(0)
    duration: Seconds = Fraction(0)
    frames: int = Field(0, ge=0)
    in_timecode: str | None = Field(None, max_length=12)
    out_timecode: str | None = Field(None, max_length=12)


class SourceRange(Record):
    """What a clip in work is cut from, in the bucket `clip_ranges` under `<account>.<event>.<clip>`; the clipper's.

    A reel has one for each range, from the second on under `<account>.<event>.<clip>-<position>`. Wall clock, start
    included, end excluded. Retention spares the hours that it touches.
    """

    account: AccountId
    event: HexId
    clip: HexId
    from_ms: Millis
    to_ms: Millis
