"""Columns of sample tables, taken and joined without a copy where that can be: a copy of hours is megabytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from shared.media.model import Int64s

Column = TypeVar("Column", bound=npt.NDArray[Any])


def taken(column: Column, rows: Int64s) -> Column:
    """Return the rows of a column; a view where they follow each other."""
    follow = len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1 and bool(np.all(rows[1:] > rows[:-1]))
    chosen: slice | Int64s = slice(int(rows[0]), int(rows[-1]) + 1) if follow else rows
    found: Column = column[chosen]  # type: ignore[assignment]
    return found


def joined(columns: Sequence[Column]) -> Column:
    """Return columns one after the other; a single one as it is."""
    found: Column = columns[0] if len(columns) == 1 else np.concatenate(columns)  # type: ignore[assignment]
    return found
