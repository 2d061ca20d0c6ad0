"""How a track is decoded; separate from sample tables, because readers of init segments need no numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeGuard

VideoCodec = Literal["h264", "hevc"]
"""Codecs whose pictures are NAL units."""
PictureCodec = Literal["h264", "hevc", "av1", "vp9"]
FRAME_CODECS = frozenset(("av1", "vp9"))
"""Codecs without NAL units: samples are shown in decode order, and headers are repeated in key frames."""
AudioCodec = Literal["aac", "opus", "mp2", "mp3", "ac3", "eac3", "flac"]

SELF_DESCRIBED = frozenset({"mp2", "mp3", "ac3", "eac3"})
"""Codecs whose packets say all that a decoder needs."""


def has_nals(codec: str) -> TypeGuard[VideoCodec]:
    """Return whether a codec's pictures are NAL units."""
    return codec in {"h264", "hevc"}


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """How one track is decoded; two equal configs can be joined without a seam.

    `sample_entry` is the whole child box of stsd (avc1, av01, mp4a, Opus ...), verbatim, as of a clear track. That of
    MPEG audio does not tell the layer: read from a file, it is "mp3". `language` is three letters (ISO 639-2), or
    empty; `kid` the id of the key that the samples are encrypted with, or empty.
    """

    track_id: int
    kind: Literal["video", "audio"]
    codec: PictureCodec | AudioCodec
    timescale: int
    sample_entry: bytes
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    language: str = ""
    kid: bytes = field(default=b"", compare=False)
