"""Fingerprints of frames: enough to check that an encoded picture looks like its source."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt

GRID = (9, 16)  # cells of a fingerprint, rows and columns


@dataclass(frozen=True, slots=True)
class Print:
    """What frame `number` of the clip should look like: mean brightness (0 to 255) per cell of a grid."""

    number: int
    cells: npt.NDArray[np.float64]


def fingerprint(frame: av.VideoFrame) -> npt.NDArray[np.float64]:
    """Return a frame's mean brightness per cell of a grid, scaled to 0 to 255."""
    plane = frame.planes[0]
    depth = frame.format.components[0].bits
    kind = np.dtype(np.uint8 if depth <= 8 else "<u2")
    pixels = np.frombuffer(bytes(plane), dtype=kind).reshape(plane.height, plane.line_size // kind.itemsize)
    rows, columns = min(GRID[0], plane.height), min(GRID[1], plane.width)
    high, wide = plane.height // rows, plane.width // columns
    cells = pixels[: high * rows, : wide * columns].reshape(rows, high, columns, wide)
    means: npt.NDArray[np.float64] = cells.mean(axis=(1, 3), dtype=np.float64)
    return means / (1 << max(depth - 8, 0))
