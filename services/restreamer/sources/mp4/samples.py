"""A track's samples in the tables of an mp4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.restreamer.model import Kind
from shared.media.model import Int64s

Numbers = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Samples:
    """A track's samples in decode order, times in the track's ticks: `dts` from 0, `shown` is pts minus dts.

    `sync` are the indices of a video's keyframes; `config` is its avcC. FFmpeg enters the track `early`
    ticks before a time that it seeks.
    """

    kind: Kind
    timescale: int
    config: bytes
    dts: Int64s
    shown: Offsets
    duration: Numbers
    size: Numbers
    offset: Int64s
    sync: Int64s
    early: int = 0

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dts)
