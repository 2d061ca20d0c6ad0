"""Coded streams: tracks and their packets. Times are flicks: 1/705,600,000 s."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeVar, dataclass_transform

from shared.media.transcode.turns import TURNS, Turn
from shared.messages.restreams import FLICKS

__all__ = ["FLICKS", "ROUNDING", "Kind", "Packet", "Track", "value"]

T = TypeVar("T")
ROUNDING = FLICKS // 990
"""By how much two times may differ that are rounded to ms."""
Kind = Literal["video", "audio"]


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
    `codec` may be any that FFmpeg knows (vorbis, mpeg4 ...): what can be decoded can be encoded anew.
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
