"""Aligns the waits of all restreams, so that the process wakes once for all of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta


def next_beat(every: timedelta) -> float:
    """Return when the next whole multiple of `every` comes, on the loop's clock."""
    now, step = asyncio.get_running_loop().time(), every.total_seconds()
    return now - now % step + step
