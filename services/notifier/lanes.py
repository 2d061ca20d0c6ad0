"""Lanes: the pending deliveries of one receiver about one resource, in the order of the events.

An instance writes a token into a lane before it sends from it. The token is valid for as long as one try may take,
then it expires. Every change is compare-and-set, so two instances can't hold the same lane.
"""

from __future__ import annotations

import bisect
from typing import Final

from shared.broker.kv import Bucket
from shared.errors import Permanent
from shared.messages.notifications import LaneEntry, LaneRecord

LONGEST_LANE: Final = 1000
BUSY_WAIT_MS: Final = 250


class LaneFull(Permanent):
    """Too many deliveries wait for this receiver."""


def lane_key(account: str, lane: str) -> str:
    """Return the key of a lane in the bucket `deliveries`."""
    return f"_lane.{account}.{lane}"


def wait_ms(lane: LaneRecord, now_ms: int) -> int:
    """Return how long to wait before sending from the lane, ms; 0: now."""
    if lane.holder and lane.held_until_ms > now_ms:
        return BUSY_WAIT_MS
    return max(lane.next_ms - now_ms, 0)


def appended(lane: LaneRecord, entry: LaneEntry) -> LaneRecord | None:
    """Return the lane with an entry added in order; None when it has the entry already. Raise LaneFull."""
    if any(entry.delivery == waiting.delivery for waiting in lane.pending):
        return None
    if len(lane.pending) >= LONGEST_LANE:
        raise LaneFull(f"{LONGEST_LANE} deliveries wait for this receiver already")
    pending = list(lane.pending)
    bisect.insort(pending, entry, key=lambda e: e.position)
    return lane.model_copy(update={"pending": tuple(pending)})


class Lanes:
    """The lanes in their bucket."""

    def __init__(self, bucket: Bucket[LaneRecord]) -> None:
        self._bucket = bucket

    async def get(self, account: str, lane: str) -> LaneRecord | None:
        """Return a lane; None when it does not exist."""
        stored = await self._bucket.get(lane_key(account, lane))
        return stored.value if stored else None

    async def add(self, account: str, lane: str, entry: LaneEntry, *, now: bool = False) -> None:
        """Add a delivery; `now`: the lane does not wait for its next try. Raise LaneFull."""

        def how(old: LaneRecord | None) -> LaneRecord | None:
            base = old or LaneRecord(account=account, lane=lane)
            base = base.model_copy(update={"next_ms": 0}) if now else base
            return appended(base, entry) or (base if now else None)

        await self._bucket.change(lane_key(account, lane), how)

    async def hold(self, lane: LaneRecord, token: str, now_ms: int, until_ms: int) -> bool:
        """Hold the lane for one try of its first delivery; False when it is held, or another delivery is first now."""
        first = lane.pending[0].delivery

        def how(old: LaneRecord | None) -> LaneRecord | None:
            if old is None or wait_ms(old, now_ms) or not old.pending or old.pending[0].delivery != first:
                return None
            return old.model_copy(update={"holder": token, "held_until_ms": until_ms})

        taken = await self._bucket.change(lane_key(lane.account, lane.lane), how)
        return taken is not None and taken.holder == token

    async def release(
        self, account: str, lane: str, token: str, *, done: str = "", next_ms: int = 0, deaf: int = 0
    ) -> None:
        """Release the lane: without the delivery `done`, or with no try before `next_ms`."""

        def how(old: LaneRecord | None) -> LaneRecord | None:
            if old is None or old.holder != token:
                return None  # the try took too long, and another instance holds the lane
            pending = tuple(entry for entry in old.pending if entry.delivery != done)
            free = {"pending": pending, "holder": "", "held_until_ms": 0, "next_ms": next_ms, "deaf": deaf}
            return old.model_copy(update=free)

        await self._bucket.change(lane_key(account, lane), how)

    async def drop(self, account: str, lane: str, delivery: str) -> None:
        """Remove a delivery that need not be sent."""

        def how(old: LaneRecord | None) -> LaneRecord | None:
            if old is None or all(entry.delivery != delivery for entry in old.pending):
                return None
            pending = tuple(entry for entry in old.pending if entry.delivery != delivery)
            return old.model_copy(update={"pending": pending, "next_ms": 0})

        await self._bucket.change(lane_key(account, lane), how)

    async def rest(self, account: str, lane: str, until_ms: int) -> None:
        """Send nothing from the lane before `until_ms`."""

        def how(old: LaneRecord | None) -> LaneRecord | None:
            return None if old is None or old.next_ms >= until_ms else old.model_copy(update={"next_ms": until_ms})

        await self._bucket.change(lane_key(account, lane), how)
