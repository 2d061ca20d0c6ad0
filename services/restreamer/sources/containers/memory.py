"""A limit for FFmpeg's single allocations: a file of a few kB may claim a thousand million frames."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Final

LARGEST: Final = 256 << 20  # the index of a file of two days, or a picture of 8K in 16 bits


@functools.cache
def bound_allocations() -> None:
    """Set the limit for this process (av_max_alloc of libavutil/mem.h, which PyAV does not offer)."""
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    for path in {line.split(maxsplit=5)[-1] for line in mapped if "/libavutil" in line}:
        ctypes.CDLL(path).av_max_alloc(ctypes.c_size_t(LARGEST))
