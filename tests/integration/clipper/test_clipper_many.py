"""500 clips at once, of one job and of 50: all finish, none is told twice, memory is bounded, fast files come first."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

from shared.broker.kv import Bucket
from shared.messages.clips import ClipCreate, ClipRecord
from shared.runtime.tasks import end_task
from tests.support.clipper_desk import ACCOUNT, ENDED, Desk, check, desk, frames, read_all
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import child, send

CLIPS = 500
SECONDS = 20
MOST_MIB = 400  # a clipper at work, beside about 110 at rest
BEAT_S = 0.2
LOOK_S = 2.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(seconds=Fraction(SECONDS)), tmp_path_factory.mktemp("film"))


def orders(jobs: list[Desk]) -> list[tuple[Desk, ClipCreate]]:
    """Ask each job in turn for a clip of 0.5 to 3 s, to the frame."""
    chance = random.Random(10)
    found = []
    for number in range(CLIPS):
        job = jobs[number % len(jobs)]
        length = chance.randrange(15, 91)
        start = chance.randrange(SECONDS * 30 - length)
        found.append((job, job.order(Fraction(start, 30), Fraction(start + length, 30))))
    return found


async def most_memory(processes: list[psutil.Process], most: dict[int, int]) -> None:
    """Keep the most that each process has held, in MiB."""
    while True:
        for process in processes:
            most[process.pid] = max(most.get(process.pid, 0), process.memory_info().rss >> 20)
        await asyncio.sleep(BEAT_S)


@pytest.mark.soak
@pytest.mark.parametrize("count", [1, 50])
async def test_500_clips_at_once(nats: NatsServer, tmp_path: Path, film: Recording, count: int) -> None:
    async with desk(nats, tmp_path) as at:
        jobs = [at, *(Desk(at.js, at.settings) for _ in range(count - 1))]
        for job in jobs:
            await job.announce(job.session(film))
        asked = orders(jobs)
        clips = {order.clip for _, order in asked}
        with ExitStack() as stack:
            services = ["clipper", "clipper", "exporter"]
            begun = [
                stack.enter_context(child(at.settings, tmp_path / f"log{n}", f"services.{name}"))
                for n, name in enumerate(services)
            ]
            most: dict[int, int] = {}
            watching = asyncio.create_task(most_memory([psutil.Process(one.pid) for one in begun], most))
            await asyncio.gather(
                *(send(at.js, order, times=2 if n % 10 == 0 else 1) for n, (_, order) in enumerate(asked))
            )

            async def all_ended() -> dict[str, ClipRecord]:
                await asyncio.sleep(LOOK_S)  # a look reads all records
                kept = await Bucket(lambda: at.js, "clips", ClipRecord).items(ACCOUNT)
                found = {stored.value.clip: stored.value for stored in kept if stored.value.clip in clips}
                return found if sum(one.state in ENDED for one in found.values()) == CLIPS else {}

            ended: dict[str, ClipRecord] = await until(all_ended, 600)
            await end_task(watching)
        assert max(most.values()) < MOST_MIB, most
        for _, order in asked:
            window = order.selection
            assert window.start is not None
            assert window.end is not None
            await check(at, ended[order.clip], frames(window.start, window.end))
        await once_each_and_fast_first(at, clips)


async def once_each_and_fast_first(at: Desk, clips: set[str]) -> None:
    """Check what was told: each step of each clip once, and half of the exact files after the last fast one."""
    said = [(channel, body) for channel, body in await read_all(at.js, "EVENTS", "clips.>") if body["clip"] in clips]
    steps = Counter((channel, body["clip"], body.get("state")) for channel, body in said)
    assert set(steps.values()) == {1}
    assert sum(1 for _, _, state in steps if state == "finished") == CLIPS
    ready = [channel for channel, _ in said if channel.endswith("_accurate.ready")]
    last_fast = max(n for n, channel in enumerate(ready) if channel == "clips.segment_accurate.ready")
    assert ready[last_fast:].count("clips.frame_accurate.ready") > CLIPS // 2
