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
"""How far two times may differ when both are rounded to ms, flicks."""
Kind = Literal["video", "audio"]


@dataclass_transform(frozen_default=True)
def value(made: type[T]) -> type[T]:
    """Make a dataclass for values created per packet; only mypy checks that it is frozen.

    In a frozen one Python sets each field by a call, which takes five times as long.
    """
    return dataclass(slots=True)(made)


@dataclass(frozen=True, slots=True)
class Track:
    """How a stream of packets is decoded. Equal tracks join without a new configuration.

    `config` is avcC, hvcC, vpcC or av1C without box header, an AudioSpecificConfig, an OpusHead, or nothing (mp3, vp8).
    `codec` may be any that FFmpeg knows (vorbis, mpeg4 ...): a decodable track can be re-encoded.
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
    """The pixels' aspect for display, before a turn."""
    own_aspect: Fraction = Fraction(1)
    """The aspect in the pictures themselves; one that only the container has is lost when they are copied."""
    turn: Turn = ""
    colours: tuple[int, int, int, int] = (0, 2, 2, 2)
    """Range, matrix, primaries and transfer from the container (H.273), for pictures that do not have them."""
    tag: str = ""
    """The codec's tag in the file; `bits` is its bits per pixel. Some decoders need them."""
    bits: int = 0
    layout: str = ""
    """The channels' speakers, where the codec's own data do not say."""

    @property
    def upright(self) -> tuple[int, int, Fraction]:
        """Return width, height and pixels' aspect after the turn."""
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
        """Return the packet with its times moved; called per packet, so without dataclasses.replace."""
        return Packet(self.kind, self.dts + by, self.pts + by, self.duration, self.key, self.data) if by else self
