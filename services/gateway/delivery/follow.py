"""Segments one by one: all of a range, or as they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.index.live import IndexChanged, LiveIndex
from services.gateway.delivery.parts import Delivery
from services.gateway.delivery.views import FOREVER_MS, PATIENCE_MS
from shared.messages.media import Track

POLL: Final = timedelta(milliseconds=500)
TRIES: Final = 3


async def follow(
    delivery: Delivery,
    account: str,
    event: str,
    track: Track,
    start_ms: int,
    end_ms: int | None,
    gone: Callable[[], Awaitable[bool]],
) -> AsyncIterator[IndexEntry]:
    """Yield a track's numbered segments from a moment (wall clock) on, as they are written.

    Ends when no more can follow, or when `gone` says so; that is asked while nothing is to be sent.
    """
    number, position = -1, start_ms
    while True:
        job = await delivery.job(account, event)
        over = job.ended or (end_ms is not None and delivery.clock.now_ms() > end_ms + PATIENCE_MS)
        index = await delivery.index(account, event)
        fresh = [
            e for e in await _between(index, track, position, end_ms) if e.number is not None and e.number > number
        ]
        for entry in fresh:
            number, position = entry.number or 0, entry.wall_start_ms
            yield entry
        if not fresh:
            if over or await gone():
                return
            await asyncio.sleep(POLL.total_seconds())


async def _between(index: LiveIndex, track: Track, start_ms: int, end_ms: int | None) -> Sequence[IndexEntry]:
    for _ in range(TRIES):
        try:
            found = await index.between(track, start_ms, FOREVER_MS if end_ms is None else end_ms)
        except IndexChanged:
            continue
        return sorted((entry for entry in found if entry.number is not None), key=_number)
    raise IndexChanged("the recording's index keeps changing")


def _number(entry: IndexEntry) -> int:
    return -1 if entry.number is None else entry.number
