"""Waiting so that all restreams of a process are seen to at the same moments: each alone would wake it for itself."""

from __future__ import annotations

import asyncio


def until_beat(seconds: float) -> float:
    """Return how long it is to the next whole multiple of `seconds` on the loop's clock."""
    return seconds - asyncio.get_running_loop().time() % seconds
