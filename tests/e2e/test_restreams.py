"""Restreams in the whole stack: by the clock, through kills of restreamer and broker, with a live event in between."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from fractions import Fraction
from functools import partial
from pathlib import Path

from shared.messages.restreams import LiveInsert
from shared.security.secrets import Vault, read_private
from tests.support import framecode_record
from tests.support.restream_desk import CLOCK, Desk, connected_desk
from tests.support.restream_receiver import in_order, receiver
from tests.support.stack import StackUnderTest, publisher
from tests.support.webhook_stack import eventually

RATE = 30
FIRST_LIVE = 700


@contextlib.asynccontextmanager
async def desk_of(live: StackUnderTest, programme: Path) -> AsyncIterator[Desk]:
    """Connect as the gateway of the stack, with the programme in the library."""
    shelf = live.folder / "library" / "main"
    shelf.mkdir(parents=True, exist_ok=True)
    shutil.copy(programme, shelf / "programme.mp4")
    vault = Vault(read_private(live.folder / "secret.key").encode())
    async with connected_desk(live.run["nats_url"], account="main", vault=vault) as at:
        yield at


async def test_kills_of_restreamer_and_broker_while_a_restream_plays(
    live: StackUnderTest, programme: Path, tmp_path: Path
) -> None:
    """The supervisor's restart counts: there is no other instance."""
    with receiver() as peer:
        async with desk_of(live, programme) as at:
            start = CLOCK.now_ms() + 2000
            end = start + 16_000
            await at.send("start", spec=at.spec("programme.mp4", to=(peer.url("x"),), start_ms=start, end_ms=end))
            await at.state("scheduled")
            await asyncio.to_thread(peer.wait_pictures, "x", 1)
            first_ms = CLOCK.now_ms() - start
            await asyncio.to_thread(peer.wait_pictures, "x", 3 * RATE)
            former = live.kill9("restreamer")
            killed = time.monotonic()
            await asyncio.to_thread(peer.wait_pictures, "x", 1, 1)
            took = time.monotonic() - killed
            await asyncio.to_thread(live.wait_restarted, "restreamer", former)
            broker = next(name for name in live.run["processes"] if name in {"nats", "nats-server"})
            former = live.kill9(broker)
            await asyncio.to_thread(live.wait_restarted, broker, former)
            ended = await at.state("ended")
            assert (ended.finished_ms or 0) >= end
            late = (ended.finished_ms or 0) - end
        numbers = [await asyncio.to_thread(peer.numbers, "x", n, tmp_path) for n in (0, 1)]
        assert len(peer.publications("x")) == 2, "the broker's end was not seen"
    gap = numbers[1][0] - numbers[0][-1] - 1
    print(f"first picture {first_ms} ms after the start's time, the end {late} ms after its own")
    print(f"kill -9: goes on after {took:.2f} s, {gap} pictures left out (less: again)")
    assert all(in_order(each) for each in numbers)
    assert abs(gap) <= 8, "the trail tells the picture, to the reorder depth of the file"
    assert first_ms >= 0


async def test_a_live_event_in_place_of_the_list(live: StackUnderTest, programme: Path, tmp_path: Path) -> None:
    """The output goes over to the event at a keyframe, and back to the picture where the list was left."""
    event = tmp_path / "event.mp4"
    framecode_record.encode(framecode_record.Spec(seconds=Fraction(8), first_number=FIRST_LIVE, bframes=0), event)
    job = live.job(name="live in a restream")
    with receiver() as peer:
        async with desk_of(live, programme) as at:
            spec = at.spec("programme.mp4", to=(peer.url("live"),), live=LiveInsert(event=job["id"]))
            await at.send("start", spec=spec)
            await asyncio.to_thread(peer.wait_pictures, "live", 2 * RATE)

            async def plays(*, insert: bool) -> bool:
                return (await at.playout()).live == insert

            with publisher(event, f"{job['stream_url']}/{job['stream_name']}", "flv") as encoder:
                await eventually(partial(plays, insert=True))
                await asyncio.to_thread(encoder.wait, 60)
            await eventually(partial(plays, insert=False), 60)
            await asyncio.to_thread(peer.wait_pictures, "live", peer.pictures("live") + 2 * RATE)
            await at.send("stop")
            await at.held("")
        numbers = await asyncio.to_thread(peer.numbers, "live", 0, tmp_path)
    first = next(n for n, number in enumerate(numbers) if number >= FIRST_LIVE)
    last = len(numbers) - next(n for n, number in enumerate(reversed(numbers)) if number >= FIRST_LIVE)
    print("list", numbers[0], numbers[first - 1], "live", numbers[first], numbers[last - 1], "list", numbers[last])
    assert in_order(numbers[first:last])
    assert in_order(numbers[:first] + numbers[last:])
    assert (numbers[first] - FIRST_LIVE) % 60 == 0, "a keyframe"
    assert last - first > 2 * RATE
