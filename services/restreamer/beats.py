"""Aligns the waits of all restreams, so that the process wakes once for all of them."""

from __future__ import annotations

import asyncio


def until_beat(seconds: float) -> float:
    """Return the seconds until the next whole multiple of `seconds` on the loop's clock."""
    return seconds - asyncio.get_running_loop().time() % seconds
