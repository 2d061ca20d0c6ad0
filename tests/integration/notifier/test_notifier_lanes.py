"""Lanes under compare-and-set, on a real bucket."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from services.notifier.lanes import BUSY_WAIT_MS, LONGEST_LANE, LaneFull, Lanes, appended, wait_ms
from shared.messages.notifications import LaneEntry, LaneRecord
from tests.support.nats import NatsServer
from tests.support.webhook_stack import desk

NOW, LANE = 1_000_000, "a" * 32


def entry(position: int) -> LaneEntry:
    return LaneEntry(position=position, delivery=f"{position:032x}")


async def test_a_lane_is_taken_by_one_and_only_that_one_gives_it_back(nats: NatsServer) -> None:
    async with desk(nats) as of:
        lanes, me = Lanes(of.lanes), of.account
        await asyncio.gather(*(lanes.add(me, LANE, entry(n)) for n in (3, 1, 2, 2)))
        lane = await lanes.get(me, LANE)
        assert lane is not None
        assert [e.position for e in lane.pending] == [1, 2, 3]

        tokens = [uuid.uuid4().hex for _ in range(8)]
        taken = await asyncio.gather(*(lanes.hold(lane, token, NOW, NOW + 1000) for token in tokens))
        assert taken.count(True) == 1
        winner = tokens[taken.index(True)]
        loser = tokens[taken.index(False)]
        await lanes.release(me, LANE, loser, done=lane.pending[0].delivery)
        held = await lanes.get(me, LANE)
        assert held is not None
        assert (held.holder, len(held.pending), wait_ms(held, NOW)) == (winner, 3, BUSY_WAIT_MS)

        assert not await lanes.hold(lane, loser, NOW + 999, NOW + 2000)
        assert await lanes.hold(lane, loser, NOW + 1000, NOW + 2000)  # the winner died; its time is over
        await lanes.release(me, LANE, winner, done=lane.pending[0].delivery)  # ... and is back too late
        await lanes.release(me, LANE, loser, done=lane.pending[0].delivery)
        assert not await lanes.hold(lane, winner, NOW + 1100, NOW + 3000)  # another delivery is first by now
        left = await lanes.get(me, LANE)
        assert left is not None
        assert ([e.position for e in left.pending], left.holder) == ([2, 3], "")


async def test_a_lane_rests_until_its_next_try(nats: NatsServer) -> None:
    async with desk(nats) as of:
        lanes, me = Lanes(of.lanes), of.account
        await lanes.add(me, LANE, entry(1))
        await lanes.rest(me, LANE, NOW + 500)
        await lanes.rest(me, LANE, NOW + 100)  # never sooner
        await lanes.add(me, LANE, entry(2))
        lane = await lanes.get(me, LANE)
        assert lane is not None
        assert wait_ms(lane, NOW) == 500
        assert not await lanes.hold(lane, "x", NOW, NOW + 1000)
        await lanes.add(me, LANE, entry(2), now=True)
        lane = await lanes.get(me, LANE)
        assert lane is not None
        assert (wait_ms(lane, NOW), len(lane.pending)) == (0, 2)


def test_a_lane_is_bounded() -> None:
    lane = LaneRecord(account="main", lane=LANE, pending=tuple(entry(n) for n in range(LONGEST_LANE)))
    assert appended(lane, entry(0)) is None
    with pytest.raises(LaneFull):
        appended(lane, entry(LONGEST_LANE))
