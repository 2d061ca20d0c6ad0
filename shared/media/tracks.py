"""How a track is decoded; separate from sample tables, because readers of init segments need no numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

VideoCodec = Literal["h264", "hevc"]
AudioCodec = Literal["aac", "opus"]


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """How one track is decoded; two equal configs can be joined without a seam.

    `sample_entry` is the whole child box of stsd (avc1, hvc1, mp4a or Opus), verbatim, but that of a clear track.
    `kid` is the id of the key that its samples are encrypted with; empty when they are clear.
    """

    track_id: int
    kind: Literal["video", "audio"]
    codec: Literal["h264", "hevc", "aac", "opus"]
    timescale: int
    sample_entry: bytes
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    kid: bytes = field(default=b"", compare=False)
