"""The fields that say which part of a recording is meant, in our API and in others that name them alike."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.domain.clips.window import ClipRange, Clock, Names, TimecodeRange
from services.gateway.domain.errors import invalid
from services.gateway.http.bodies import ExactSeconds
from services.gateway.http.timecodes import TimecodeText
from shared.media.timecode import parse_label

FAMILIES: Final[tuple[tuple[Clock | None, str, str], ...]] = (
    ("stream", "stream_start_time", "stream_end_time"),
    ("wall", "start_time", "end_time"),
    (None, "stream_start_timecode", "stream_end_timecode"),
)


class Selectors(BaseModel):
    """Which part of a recording. All times in s."""

    model_config = ConfigDict(extra="ignore")

    stream_start_time: ExactSeconds | None = Field(None, description="From the stream's first frame")
    stream_end_time: ExactSeconds | None = Field(None, description="From the stream's first frame")
    start_time: ExactSeconds | None = Field(None, description="Since the epoch")
    end_time: ExactSeconds | None = Field(None, description="Since the epoch")
    duration: ExactSeconds | None = Field(None, description="Alone: the last seconds; or with any one of the others")
    stream_start_timecode: TimecodeText | None = Field(None, description="SMPTE timecode of the first frame")
    stream_end_timecode: TimecodeText | None = Field(None, description="SMPTE timecode of the frame after the last one")
    wait: bool = Field(default=False, description="Take an end in the future, and complete the clip when it has come")


def range_of(output: Selectors, prefix: str = "") -> ClipRange | TimecodeRange:
    """Return the range that an output requests; Invalid when it names points of two clocks."""
    used = [f for f in FAMILIES if getattr(output, f[1]) is not None or getattr(output, f[2]) is not None]
    if len(used) > 1:
        mixed = [name for family in used for name in family[1:] if getattr(output, name) is not None]
        raise invalid(f"{prefix}{mixed[-1]}", f"{' and '.join(mixed)} cannot be mixed")
    if not used:
        return ClipRange(duration=output.duration, wait=output.wait)
    clock, start, end = used[0]
    points = getattr(output, start), getattr(output, end)
    if clock is None:
        first, after = (None if text is None else parse_label(text) for text in points)
        return TimecodeRange(first, after, output.duration, output.wait, Names(start, end))
    return ClipRange(clock, *points, output.duration, output.wait, Names(start, end))
