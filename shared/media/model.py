"""The terms of media code: tracks, sample tables, and byte ranges of samples in files.

Times are integer ticks of a track's own timescale (ticks per second).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Samples of one track in decode order, one row each; all arrays have the same length.

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
        """Return the number of samples."""
        return int(self.dts.shape[0])
