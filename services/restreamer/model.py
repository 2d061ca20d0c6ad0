"""The types that sources, playout and targets share (ADR 14). Times are flicks: 1/705,600,000 s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol

from shared.errors import ReelayError
from shared.media.transcode.streams import FLICKS, Kind, Packet, Track, value
from shared.messages.restreams import TargetStatus

# Includes the types of coded streams, which shared/media/transcode defines.
__all__ = [
    "FLICKS", "AudioCodec", "How", "Kind", "Media", "Outputs", "Packet", "SourceError", "TargetSpec", "Track", "Unit",
    "VideoCodec", "to_flicks", "value",
]  # fmt: skip

VideoCodec = Literal["h264", "hevc", "vp8", "vp9", "av1"]
AudioCodec = Literal["aac", "mp3", "opus"]
How = Literal["copied", "conformed", "transcoded"]


class Media(Protocol):
    """An opened file. One thread uses it; the `stop` passed at opening ends its waits.

    A file's zero is its first picture (its first sound when it has none); a recording's is its event's first frame.
    Times before zero belong to what is decoded or heard before it.
    """

    video: Track | None
    audio: Track | None
    duration: int | None
    wall_start_ms: int | None
    """Wall clock of the file's zero, where it is known (recordings, creation_time)."""
    resumes: int | None
    """Set when packets() has ended at a seam (a gap, another codec or size, an HLS discontinuity): go on as if
    another file followed, with packets() from this time; video and audio are the new ones then. None: the end."""

    def packets(self, start: int) -> Iterator[Packet]:
        """Yield packets from the last keyframe at or before `start`, both kinds, by decode time. SourceError."""
        ...

    def close(self) -> None:
        """Release the file's resources."""
        ...


class SourceError(ReelayError):
    """A source cannot be read; the message is for people and contains no secret. `lasting`: a retry is useless."""

    def __init__(self, text: str, *, lasting: bool = True) -> None:
        super().__init__(text)
        self.lasting = lasting


@value
class Unit:
    """One packet on the output's timeline. Decode times never decrease within a kind, and pts >= dts >= 0.

    `track` is set where a decoder must be configured anew, which is at a keyframe. `clean`: no picture is
    missing before the end of what was sent up to here.
    """

    kind: Kind
    dts: int
    pts: int
    duration: int
    key: bool
    data: bytes
    track: Track | None = None
    clean: bool = True


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A target with its URL decrypted. The first `tries` attempts follow each other quickly, then pauses grow."""

    target: str
    url: str = field(repr=False)
    shown: str
    tries: int = 3


class Outputs(Protocol):
    """All targets of one restream. The pacer makes all calls but `prepare`, and none waits, whatever targets do."""

    def prepare(self, units: Sequence[Unit]) -> object | None:
        """Prepare units for sending, in the reader's thread and in output order; None: nothing is prepared."""
        ...

    def feed(self, units: Sequence[Unit], ready: object | None = None) -> None:
        """Send units whose time has come; `ready` is what `prepare` returned for them."""
        ...

    def tick(self) -> None:
        """Read answers, finish connecting, retry; called at least ten times a second."""
        ...

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        """Add new targets, and leave those that are no longer named."""
        ...

    def states(self) -> tuple[TargetStatus, ...]:
        """Return each target's status."""
        ...

    def close(self) -> None:
        """Leave all targets, within a second."""
        ...


def to_flicks(ticks: int, timescale: Fraction) -> int:
    """Convert ticks of `timescale` seconds each, to the nearest flick."""
    return round(ticks * timescale * FLICKS)
