"""Columns of sample tables, taken and joined without a copy where that can be: a copy of hours is megabytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from shared.media.model import Int64s

S = TypeVar("S", bound=np.generic)


def taken(column: npt.NDArray[S], rows: Int64s) -> npt.NDArray[S]:
    """Return the rows of a column; a view where they follow each other."""
    follow = len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1 and bool(np.all(rows[1:] > rows[:-1]))
    return column[int(rows[0]) : int(rows[-1]) + 1] if follow else column[rows]


def joined(columns: Sequence[npt.NDArray[S]]) -> npt.NDArray[S]:
    """Return columns one after the other; a single one as it is."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns)
