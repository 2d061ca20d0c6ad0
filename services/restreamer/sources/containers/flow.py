"""A track's frames as FFmpeg has them: their ticks, and what the last one told."""

from __future__ import annotations

from dataclasses import dataclass

from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from services.restreamer.model import FLICKS, Kind, SourceError


@dataclass(slots=True)
class Flow:
    """A track's frames: how long a tick is in flicks, and what the last frame told."""

    stream: VideoStream | AudioStream
    numerator: int
    denominator: int
    half: int = 0
    kind: Kind = "audio"
    described: bytes | None = None
    length: int = 0
    """Of each frame, where its codec fixes one."""
    following: int | None = None

    def __post_init__(self) -> None:
        self.half = self.denominator // 2
        self.kind = "video" if isinstance(self.stream, VideoStream) else "audio"

    @classmethod
    def of(cls, stream: VideoStream | AudioStream) -> Flow:
        """Begin with a track."""
        return cls(stream, *scale_of(stream))

    def flicks(self, ticks: int) -> int:
        """Turn the track's ticks into flicks."""
        return in_flicks(ticks, (self.numerator, self.denominator))


def scale_of(stream: VideoStream | AudioStream) -> tuple[int, int]:
    """Return a tick's length as flicks, as numerator and denominator; PyAV makes a Fraction whenever it is asked."""
    base = stream.time_base
    if base is None:
        raise SourceError("the file has no time base")
    return FLICKS * base.numerator, base.denominator


def in_flicks(ticks: int, scale: tuple[int, int]) -> int:
    """Turn ticks into flicks, to the nearest."""
    numerator, denominator = scale
    return (ticks * numerator + denominator // 2) // denominator
