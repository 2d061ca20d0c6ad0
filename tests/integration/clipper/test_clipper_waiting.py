"""What a clip waits for, and that it says what it lacks: sessions behind, jobs that end, a broker that stood still."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.clipper import cutter, leftovers, watching
from services.clipper import recording_reader as source
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.broker.streams import SEGMENTS
from shared.broker.subjects import segments_subject
from shared.messages.clips import ClipCancel, ClipRecord
from shared.messages.live import JobState, JobStateChanged
from shared.messages.recordings import RecordingRecord
from shared.recording.clip_span import AHEAD
from shared.runtime.clock import SystemClock
from shared.runtime.service import make_service
from tests.support.archive import SetClock, parts, running_archiver
from tests.support.clipper_desk import ACCOUNT, RATE, Desk, check, desk, frames, serving
from tests.support.framecode import AUDIO_RATE, play
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import idle, letter, redelivered, send


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Six seconds: frames 0 to 179 in three segments."""
    return record(Spec(), tmp_path_factory.mktemp("first"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=50))


async def made(at: Desk, clip: str) -> ClipRecord:
    """Wait for a clip's first file."""

    async def look() -> ClipRecord | None:
        found = await at.record(clip)
        return found if found and found.file else None

    found: ClipRecord = await until(look)
    return found


async def enters(at: Desk, state: JobState, revision: int = 2) -> None:
    """Move the job, and say so twice, as its gateway may."""
    await at.job(state)
    event = JobStateChanged(
        account=ACCOUNT, event=at.event, state=state, at_ms=SystemClock().now_ms(), revision=revision
    )
    await send(at.js, event, times=2)


def gaps(record: ClipRecord) -> list[tuple[Fraction, Fraction]]:
    return [(gap.start, gap.duration) for gap in record.gaps]


async def test_a_clip_whose_end_is_on_its_way_delays_no_other_and_ends_when_it_is_cancelled(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("processing")
        segments = at.session(first)
        await at.publishing(segments)
        await at.announce(segments[:2])
        hopeful, other = at.order(1, 5), at.order(1, 2)
        await send(at.js, hopeful)
        early = await made(at, hopeful.clip)
        assert early.file is not None
        assert (early.file.accuracy, early.file.out_point, gaps(early)) == ("segment", 4, [(4, 1)])

        async def looked() -> bool:
            return bool(await redelivered(at.js, "clipper-refine", ACCOUNT))

        await until(looked)
        await send(at.js, other)

        async def finished() -> ClipRecord | None:
            found = await at.record(other.clip)
            return found if found and found.state == "finished" else None

        await check(at, await until(finished), frames(1, 2))
        assert (await made(at, hopeful.clip)).state == "processing"
        await send(at.js, ClipCancel(account=ACCOUNT, clip=hopeful.clip, at_ms=SystemClock().now_ms()))
        ended = await at.ended(hopeful.clip)
        assert (ended.state, ended.file and ended.file.accuracy) == ("cancelled", "segment")


async def test_an_out_point_among_pictures_still_to_be_shown_waits_for_their_sound(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    """By decode time the second segment reaches 4 s; its sound ends with that, 67 ms before its last picture's end."""
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("processing")
        segments = at.session(first)
        await at.publishing(segments)
        await at.announce(segments[:2])
        orders = [at.order(1, 4 - Fraction(frame, RATE)) for frame in (0, 1)]
        for order in orders:
            await send(at.js, order)
            assert (await made(at, order.clip)).file is not None

        async def looked() -> bool:
            return await redelivered(at.js, "clipper-refine", ACCOUNT) == len(orders)

        await until(looked)
        await at.announce(segments[2:])
        for number, order in enumerate(orders):
            ended = await at.ended(order.clip)
            await check(at, ended, frames(1, 4)[: 90 - number])
            assert gaps(ended) == []
            heard = len(play(at.file(order.clip)).sound)
            assert abs(heard - (90 - number) * AUDIO_RATE // RATE) <= 1


@pytest.mark.parametrize("then", ["the rest comes", "the encoder leaves", "the job ends", "nothing more is heard"])
async def test_a_clip_is_whole_or_says_what_it_lacks_when_the_log_was_behind(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Its end is long past, but the broker stood still meanwhile: only four seconds of six are in the log."""
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("processing")
        segments = at.session(first)
        await at.publishing(segments)
        await at.announce(segments[:2])
        order = at.order(1, 6, wait=True, live=True)
        await send(at.js, order)
        assert gaps(await made(at, order.clip)) == [(4, 2)]
        if then == "the rest comes":
            await at.announce(segments[2:])
        elif then == "the encoder leaves":
            await at.job("disconnected")
            await at.publishing(segments, ended=True)
        elif then == "the job ends":
            await enters(at, "finished")
            await at.publishing(segments, ended=True)
        else:
            monkeypatch.setattr(source, "LATEST", timedelta(seconds=1))
        ended = await at.ended(order.clip)
        await check(at, ended, frames(1, 6 if then == "the rest comes" else 4))
        named = then in {"the encoder leaves", "nothing more is heard"}
        assert gaps(ended) == ([(4, 2)] if named else []), "a range beyond the event's end is not missing"


@pytest.mark.parametrize("state", ["finished", "waiting"])
async def test_a_waiting_clip_is_taken_up_when_its_job_ends(
    nats: NatsServer, tmp_path: Path, first: Recording, state: JobState
) -> None:
    async with desk(nats, tmp_path) as at, serving(at, "clipper", "exporter", "scheduler"):
        await at.job("processing")
        at.begun_ms = SystemClock().now_ms() - 6000
        segments = at.session(first)
        await at.publishing(segments)
        await at.announce(segments)
        order, beyond = at.order(4, 600, live=True, wait=True), at.order(60, 70, live=True, wait=True)
        for one in (order, beyond):
            await send(at.js, one, dedup=True)

        async def waits(clip: str) -> bool:
            found = await at.record(clip)
            return bool(found and found.state == "waiting")

        for one in (order, beyond):
            await until(lambda clip=one.clip: waits(clip))
        await enters(at, "disconnected")
        await at.publishing(segments, ended=True)
        await until(lambda: idle(at.js, "clipper-jobs"))
        assert await waits(order.clip), "the encoder may come back"
        await enters(at, state, 3)
        ended = await at.ended(order.clip)
        assert (await check(at, ended, frames(4, 6))).out_point == 6
        assert gaps(ended) == []
        never = await at.ended(beyond.clip)
        assert (never.state, "nothing was recorded" in never.error) == ("failed", True)


async def test_a_clip_that_does_not_wait_holds_nothing_from_after_its_request(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    """Whatever the order says of its job."""
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("processing")
        segments = at.session(first)
        await at.publishing(segments)
        await at.announce(segments)
        for live in (True, False):
            order = at.order(1, 6, live=live, requested_ms=at.begun_ms + 3000)
            await send(at.js, order)
            ended = await at.ended(order.clip)
            await check(at, ended, frames(1, 3 + AHEAD))
            assert gaps(ended) == []


async def test_what_is_missing_before_the_first_segment_is_named(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(first)[1:])
        order = at.order(1, 5)
        await send(at.js, order)
        ended = await at.ended(order.clip)
        await check(at, ended, frames(2, 5))
        assert gaps(ended) == [(1, 1)]


@pytest.mark.parametrize("longest", [None, Fraction(4)])
async def test_long_gops_are_read_from_their_keyframe_on(
    nats: NatsServer, tmp_path: Path, longest: Fraction | None
) -> None:
    """A keyframe each ten seconds, in segments of ten seconds or, as a recorder's limits make them, of four."""
    recording = record(Spec(gop=300, seconds=Fraction(21), longest=longest), tmp_path / "recording")
    async with desk(nats, tmp_path) as at, serving(at):
        segments = at.session(recording)
        assert [bool(segment.keyframes) for segment in segments].count(True) == 3
        await at.announce(segments)
        ranges = [(Fraction(37, 4), Fraction(43, 4)), (Fraction(71, 4), 18), (19, 21), (Fraction(85, 10), 9)]
        orders = [at.order(start, end) for start, end in ranges]
        for order in orders:
            await send(at.js, order)
        for order in orders:
            ended = await at.ended(order.clip)
            start, end = order.selection.start, order.selection.end
            file = await check(at, ended, list(range(-(-start * 30 // 1), -(-end * 30 // 1))))
            assert (gaps(ended), file.accuracy) == ([], "frame")


def expire(at: Desk, segments: list[Any], loop: asyncio.AbstractEventLoop, *, indexed: bool) -> None:
    """Delete the first segment as retention does: out of the index, unless it stays `indexed`, then the bytes."""
    if not indexed:
        gone = at.js.purge_stream(SEGMENTS, subject=segments_subject(ACCOUNT, at.event), keep=len(segments) - 1)
        asyncio.run_coroutine_threadsafe(gone, loop).result(10)
    at.store.delete(segments[0].key)


@pytest.mark.parametrize("step", ["plan_cut", "cut_fast", "cut_exact"])
@pytest.mark.parametrize("indexed", [False, True])
async def test_segments_deleted_under_a_cut(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch, step: str, indexed: bool
) -> None:
    """What retention took is named as a gap, and so is what is lost though the index has it."""
    real, done, loop = getattr(cutter, step), threading.Event(), asyncio.get_running_loop()
    async with desk(nats, tmp_path) as at, serving(at):
        segments = at.session(first)

        def cut(*args: Any) -> Any:
            if not done.is_set():
                done.set()
                expire(at, segments, loop, indexed=indexed)
            return real(*args)

        monkeypatch.setattr(cutter, step, cut)
        await at.announce(segments)
        order = at.order(1, 5)
        sequence = await send(at.js, order)
        ended = await at.ended(order.clip)
        assert done.is_set()
        assert await letter(at.js, "clipper-create", sequence) is None
        await check(at, ended, frames(2, 5))
        assert gaps(ended) == [(1, 1)]


async def test_what_killed_clippers_left_is_removed(nats: NatsServer, tmp_path: Path) -> None:
    async with desk(nats, tmp_path) as at:
        folders = [at.store.begin(f"clips/{ACCOUNT}/{clip}/segment.mp4").parent for clip in ("a" * 32, "b" * 32)]
        old = [folder / ".segment.mp4.0badcafe.part" for folder in folders]
        young, whole = folders[0] / ".frame.mp4.0badcafe.part", folders[0] / "segment.mp4"
        for file in (*old, young, whole):
            file.write_bytes(b"x")
        long_ago = time.time() - 2 * leftovers.OLD.total_seconds()
        for file in (*old, whole):
            os.utime(file, (long_ago, long_ago))
        async with serving(at, "clipper"):

            async def removed() -> bool:
                return not any(file.exists() for file in old)

            await until(removed)
        assert young.exists(), "somebody may be writing it"
        assert whole.exists()


@pytest.mark.parametrize("rebuilt", [True, False], ids=["rebuilt", "by nobody"])
async def test_a_clip_over_a_damaged_hour_has_it_rebuilt_and_waits_for_it(
    nats: NatsServer, tmp_path: Path, first: Recording, rebuilt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clipper asks, a running archiver rebuilds, and the clip is whole. It does not wait for ever."""
    if not rebuilt:
        monkeypatch.setattr(source, "REBUILT_WITHIN", timedelta(milliseconds=500))
    async with desk(nats, tmp_path) as at:
        await at.announce(at.session(first))
        service = make_service("archiver", at.settings, SystemClock())
        await service.broker.connect()
        try:
            archiver = parts(service, SetClock(), at.store)
            await archiver.compactor.compact(ACCOUNT, at.event, everything=True)
            stored = await Bucket(lambda: at.js, "recordings", RecordingRecord).get(f"{ACCOUNT}.{at.event}")
        finally:
            await service.broker.stop()
        assert stored is not None
        hours = stored.value.hours
        for hour in hours:
            at.store.put(hour.key, b"")
        order = at.order(1, 5)
        async with serving(at):
            await send(at.js, order)
            if not rebuilt:
                ended = await at.ended(order.clip)
                assert ended.state == "failed"
                return
            async with running_archiver(nats.url, tmp_path, SystemClock()):
                ended = await at.ended(order.clip)
        await check(at, ended, frames(1, 5))
        assert ended.gaps == ()
