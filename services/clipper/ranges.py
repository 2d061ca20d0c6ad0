"""Holds the ranges of recordings that clips in work are cut from, so that retention spares them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from nats.js import JetStreamContext
from pydantic import ValidationError

from services.clipper.state import needs_recording
from shared.broker import buckets
from shared.broker.kv import Bucket, Conflict
from shared.messages.clips import RANGE_LIFE, ClipCreate, ClipRecord
from shared.messages.ranges import SourceRange
from shared.messages.sessions import EventClock, clock_key
from shared.recording.needed import needed
from shared.runtime.clock import Clock

LIFE_MS: Final = RANGE_LIFE // timedelta(milliseconds=1)


class SourceRanges:
    """The bucket `clip_ranges`: one record for each range of a clip that is still to be cut. Each step may be repeated.

    A clip's own record is written before its range, so a range without a clip belongs to a deleted clip.
    """

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self._ranges = Bucket(jetstream, buckets.CLIP_RANGES, SourceRange)
        self._clips = Bucket(jetstream, buckets.CLIPS, ClipRecord)
        self._clocks = Bucket(jetstream, buckets.SESSIONS, EventClock)
        self._clock = clock

    async def hold(self, record: ClipRecord) -> None:
        """Hold the range of a clip that is still to be cut; release that of any other."""
        if not needs_recording(record):
            await self.release(record)
            return
        request = record.request
        if self._clock.now_ms() >= request.requested_ms + LIFE_MS:
            return  # the broker has dropped it: a clip that never ends must not keep its hours for ever
        for position, part in enumerate(request.parts):
            await self._hold(_key(part, position), part)

    async def _hold(self, key: str, part: ClipCreate) -> None:
        zero_ms = await self._zero_ms(part)
        if zero_ms is None:  # nothing was published, so nothing of it can be deleted
            return
        from_ms, to_ms = needed(part, zero_ms)
        held = SourceRange(account=part.account, event=part.event, clip=part.clip, from_ms=from_ms, to_ms=to_ms)

        def change(known: SourceRange | None) -> SourceRange | None:
            """Hold a range that has become known in place of everything, and not the other way round."""
            return None if known == held or (known and part.after_live is not None) else held

        await self._ranges.change(key, change)

    async def release(self, record: ClipRecord) -> None:
        """Let retention have what a clip was cut from."""
        for position, part in enumerate(record.request.parts):
            if await self._ranges.get_settled(_key(part, position)) is not None:
                await self._ranges.delete(_key(part, position))

    async def sweep(self) -> int:
        """Remove the ranges of clips that are cut, have ended or are gone, and return their number."""
        removed = 0
        for stored in await self._ranges.items():
            if not await self._is_needed(stored.value):
                with contextlib.suppress(Conflict):
                    await self._ranges.delete(stored.key, stored.revision)
                removed += 1
        return removed

    async def _is_needed(self, held: SourceRange) -> bool:
        try:
            clip = await self._clips.get_settled(f"{held.account}.{held.clip}")
        except ValidationError:  # unknown, so that it stays until the broker drops it
            return True
        return clip is not None and needs_recording(clip.value)

    async def _zero_ms(self, part: ClipCreate) -> int | None:
        """Return when the event's first frame arrived; 0 for a range that does not depend on it.

        That is one by wall clock, and that of a clip that was ordered with its job, before anything was published.
        """
        if part.selection.clock == "wall" or part.after_live is not None:
            return 0
        stored = await self._clocks.get(clock_key(part.account, part.event))
        return stored.value.first_frame_ms if stored else None


def _key(part: ClipCreate, position: int) -> str:
    return f"{part.account}.{part.event}.{part.clip}" + (f"-{position}" if position else "")
