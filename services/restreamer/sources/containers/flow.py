"""The state of reading a track's frames from FFmpeg, and conversion of their ticks."""

from __future__ import annotations

from dataclasses import dataclass

from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from services.restreamer.model import FLICKS, Kind, SourceError


@dataclass(slots=True)
class Flow:
    """A track's frames: the length of a tick in flicks, and what the last frame showed."""

    stream: VideoStream | AudioStream
    numerator: int
    denominator: int
    half: int = 0
    kind: Kind = "audio"
    described: bytes | None = None
    length: int = 0
    """The duration of each frame, if its codec fixes one."""
    following: int | None = None

    def __post_init__(self) -> None:
        self.half = self.denominator // 2
        self.kind = "video" if isinstance(self.stream, VideoStream) else "audio"

    @classmethod
    def of(cls, stream: VideoStream | AudioStream) -> Flow:
        """Return the flow of a track."""
        return cls(stream, *scale_of(stream))

    def flicks(self, ticks: int) -> int:
        """Return the track's ticks in flicks."""
        return in_flicks(ticks, (self.numerator, self.denominator))


def scale_of(stream: VideoStream | AudioStream) -> tuple[int, int]:
    """Return a tick's length in flicks as numerator and denominator; PyAV makes a new Fraction at each access."""
    base = stream.time_base
    if base is None:
        raise SourceError("the file has no time base")
    return FLICKS * base.numerator, base.denominator


def in_flicks(ticks: int, scale: tuple[int, int]) -> int:
    """Return ticks in flicks, rounded to the nearest."""
    numerator, denominator = scale
    return (ticks * numerator + denominator // 2) // denominator
