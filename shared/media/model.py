"""The terms of media code: tracks, sample tables, and byte ranges of samples in files.

Times are integer ticks of a track's own timescale (ticks per second).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
VideoCodec = Literal["h264", "hevc"]
AudioCodec = Literal["aac", "opus"]


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """How one track is decoded; two equal configs can be joined without a seam.

    `sample_entry` is the whole child box of stsd (avc1, hvc1, mp4a or Opus), verbatim.
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


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Samples of one track in decode order, a row each; all arrays have the same length.

    `source` indexes `files`: the sample's bytes are `size` bytes at `offset` in that file.
    """

    dts: Int64s
    pts: Int64s
    duration: Int64s
    size: Int64s
    sync: Bools
    offset: Int64s
    source: Int64s
    files: tuple[Path, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return int(self.dts.shape[0])
