"""The terms that sources, playout and targets share (ADR 14). Times are flicks: 1/705,600,000 s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol, TypeVar, dataclass_transform

from services.restreamer.turns import TURNS, Turn
from shared.errors import ReelayError
from shared.messages.restreams import FLICKS, TargetStatus

__all__ = ["FLICKS"]

T = TypeVar("T")
Kind = Literal["video", "audio"]
VideoCodec = Literal["h264", "hevc", "vp8", "vp9", "av1"]
AudioCodec = Literal["aac", "mp3", "opus"]
How = Literal["copied", "conformed", "transcoded"]


@dataclass_transform(frozen_default=True)
def value(made: type[T]) -> type[T]:
    """Make a frozen dataclass of what is made for every packet: mypy alone sees to it that nobody changes one.

    Python sets each field of a frozen one by a call, which takes five times as long.
    """
    return dataclass(slots=True)(made)


@dataclass(frozen=True, slots=True)
class Track:
    """How a stream of packets is decoded. Equal tracks join without a new configuration.

    `config` is avcC, hvcC, vpcC or av1C without box header, an AudioSpecificConfig, an OpusHead, or nothing (mp3, vp8).
    `codec` may be one that no target takes (vorbis, mpeg4 ...): what can be decoded can be encoded anew.
    """

    kind: Kind
    codec: str
    config: bytes
    width: int = 0
    height: int = 0
    pixels: str = ""
    rate: Fraction | None = None
    sample_rate: int = 0
    channels: int = 0
    aspect: Fraction = Fraction(1)
    """The pixels' aspect as they are to be shown, before a turn."""
    own_aspect: Fraction = Fraction(1)
    """The aspect that the pictures themselves tell; what only the container says is lost where they are copied."""
    turn: Turn = ""
    colours: tuple[int, int, int, int] = (0, 2, 2, 2)
    """Range, matrix, primaries and transfer as the container tells them (H.273), where the pictures do not."""
    tag: str = ""
    """The codec's tag in the file, and its bits a pixel, which some decoders need."""
    bits: int = 0
    layout: str = ""
    """Which speakers the channels are for, where the codec's own data do not tell."""

    @property
    def upright(self) -> tuple[int, int, Fraction]:
        """Width, height and pixels' aspect as they are once the picture was turned."""
        if self.turn and TURNS[self.turn].swaps:
            return self.height, self.width, 1 / self.aspect
        return self.width, self.height, self.aspect


@value
class Packet:
    """One coded picture or sound frame of a file, in decode order; times from the file's own zero.

    H.264 and HEVC are length-prefixed (4 bytes), AAC is raw.
    """

    kind: Kind
    dts: int
    pts: int
    duration: int
    key: bool
    data: bytes

    def later(self, by: int) -> Packet:
        """Return it with its times moved; made for every packet, so without dataclasses.replace."""
        return Packet(self.kind, self.dts + by, self.pts + by, self.duration, self.key, self.data) if by else self


class Media(Protocol):
    """An opened file. One thread uses it; `stop` given at opening ends its waits.

    A file's zero is its first picture (its first sound when it has none); a recording's is its event's first frame.
    Times before zero are of what is decoded or heard before it.
    """

    video: Track | None
    audio: Track | None
    duration: int | None
    wall_start_ms: int | None
    """Wall clock of the file's zero, where it is known (recordings, creation_time)."""
    resumes: int | None
    """Set when packets() has ended at a seam (a gap, another codec or size, an HLS discontinuity): play on as if
    another file followed, from packets() at this time; video and audio are the new ones by then. None: the end."""

    def packets(self, start: int) -> Iterator[Packet]:
        """Return packets from the last keyframe at or before `start`, both kinds, by decode time. SourceError."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class SourceError(ReelayError):
    """A source cannot be read; the message is for people and holds no secret. `lasting`: another try is vain."""

    def __init__(self, text: str, *, lasting: bool = True) -> None:
        super().__init__(text)
        self.lasting = lasting


@value
class Unit:
    """One packet on the output's timeline. Decode times never fall within a kind, and pts >= dts >= 0.

    `track` is set where a decoder must be configured anew, which is at a keyframe. `clean`: nothing that is shown
    before the end of what was sent up to here is missing.
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
    """A target with its URL opened. `tries` calls follow each other quickly, then pauses grow."""

    target: str
    url: str = field(repr=False)
    shown: str
    tries: int = 3


class Outputs(Protocol):
    """All targets of one restream. Every call but `prepare` is the pacer's and returns at once, whatever targets do."""

    def prepare(self, units: Sequence[Unit]) -> object | None:
        """Do ahead what sending units takes. For the reader's thread, in the output's order; None: nothing is ready."""
        ...

    def feed(self, units: Sequence[Unit], ready: object | None = None) -> None:
        """Send units whose time has come; `ready` is what `prepare` has made of them, of the first of them on."""
        ...

    def tick(self) -> None:
        """Take answers, finish connecting, retry; at least ten times a second."""
        ...

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        """Add what is new, end what is no longer named."""
        ...

    def states(self) -> tuple[TargetStatus, ...]:
        """Tell how each is."""
        ...

    def close(self) -> None:
        """Say goodbye to all, within a second."""
        ...
