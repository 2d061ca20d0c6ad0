"""Clips from order to delivery: the fast file, the exact one, and everything that may come in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.clipper import watching, work
from services.clipper.cutter import ClipCutter
from shared.broker import middleware
from shared.messages.clips import Accuracy, ClipCancel, ClipRecord, ClipRefine
from shared.messages.exports import ExportDelivered, ExportFailed
from shared.runtime.clock import SystemClock
from tests.support.clipper_desk import ACCOUNT, Desk, check, desk, frames, serving
from tests.support.framecode import play
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import apply, child, idle, new_id, redelivered, send


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Six seconds: frames 0 to 179 in three segments."""
    return record(Spec(), tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """What comes when the encoder is back at 9 s: frames from 270 on."""
    return record(Spec(seconds=Fraction(4), first_number=270), tmp_path_factory.mktemp("second"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=10))
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=50))


async def test_fast_then_exact_then_finished(nats: NatsServer, tmp_path: Path, first: Recording) -> None:
    async with desk(nats, tmp_path) as at:
        await at.announce(at.session(first))
        order = at.order(1, Fraction(9, 2))
        async with serving(at, "clipper"):  # nobody delivers yet
            await send(at.js, order)

            async def refined() -> bool:
                found = await at.record(order.clip)
                return bool(found and found.file and found.file.accuracy == "frame")

            await until(refined)
            assert play(at.store.path(f"clips/{ACCOUNT}/{order.clip}/segment.mp4")).numbers == frames(0, 6)
        async with serving(at):
            ended = await at.ended(order.clip)
            await until(lambda: idle(at.js, "clipper-delivered"))
        file = await check(at, ended, frames(1, Fraction(9, 2)))
        assert (file.in_point, file.out_point, file.method) == (1, Fraction(9, 2), "smart")
        assert ended.gaps == ()
        assert await at.told(order.clip) == [
            "processing", "clips.segment_accurate.ready", "clips.frame_accurate.ready", "finished",
        ]  # fmt: skip


async def test_a_fast_file_that_is_nowhere_fails_no_clip_whose_exact_one_is_there(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    """Both are delivered beside each other: the fast one's failure may be told last. The exact one's is the clip's."""
    async with desk(nats, tmp_path) as at, serving(at, "clipper"):
        await at.announce(at.session(first))
        order = at.order(1, 4)
        await send(at.js, order)

        async def refined() -> bool:
            found = await at.record(order.clip)
            return bool(found and found.file and found.file.accuracy == "frame")

        async def told(accuracy: Accuracy) -> ClipRecord:
            said = ExportFailed(
                account=ACCOUNT, export=order.clip, clip=order.clip, accuracy=accuracy, error="no such host", at_ms=1
            )
            sequence = await send(at.js, said)
            await until(lambda: idle(at.js, "clipper-undelivered", sequence))
            found = await at.record(order.clip)
            assert found is not None
            return found

        await until(refined)
        assert (await told("segment")).state not in {"failed", "finished"}
        failed = await told("frame")
        assert failed.state == "failed"
        assert "no such host" in failed.error
        assert "failed" in await at.told(order.clip)


async def test_every_message_twice(nats: NatsServer, tmp_path: Path, first: Recording) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        segments = at.session(first)
        await at.announce([*segments, *segments])
        order = at.order(1, 2, clock="wall")
        await send(at.js, order, times=2)
        ended = await at.ended(order.clip)
        await check(at, ended, frames(1, 2))
        sequences = {"clipper-create": await send(at.js, order, times=2)}
        sequences["clipper-refine"] = await send(at.js, ClipRefine(account=ACCOUNT, clip=order.clip), times=2)
        for accuracy in ("frame", "segment"):
            told = ExportDelivered(
                account=ACCOUNT, export=order.clip, clip=order.clip, accuracy=accuracy,
                location=ended.deliveries[0].location,
                bytes=1, at_ms=0,
            )  # fmt: skip
            sequences["clipper-delivered"] = await send(at.js, told, times=2)
        for durable, sequence in sequences.items():
            await until(lambda d=durable, p=sequence: idle(at.js, d, p))
        after = await at.record(order.clip)
        assert after is not None
        assert after.model_copy(update={"changed_ms": 0}) == ended.model_copy(update={"changed_ms": 0})
        assert (await at.told(order.clip)).count("finished") == 1


async def test_a_gap_across_two_sessions_is_told_and_never_padded(
    nats: NatsServer, tmp_path: Path, first: Recording, second: Recording
) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce([*at.session(first), *at.session(second, 9000)])
        order = at.order(5, 10)
        await send(at.js, order)
        ended = await at.ended(order.clip)
        await check(at, ended, frames(5, 6) + frames(9, 10))
        assert [(gap.start, gap.duration) for gap in ended.gaps] == [(6, 3)]


async def test_what_was_not_recorded(nats: NatsServer, tmp_path: Path, first: Recording) -> None:
    """A clip that cannot be made fails with a reason, and no other clip suffers."""
    async with desk(nats, tmp_path) as at, serving(at):
        segments = at.session(first)
        await at.announce(segments)
        at.store.delete(segments[1].key)
        nothing, lost, never, good = (
            at.order(20, 30),
            at.order(Fraction(5, 2), 3),
            at.order(0, 1, event=new_id()),
            at.order(4, 5),
        )
        for order in (nothing, lost, never, good):
            await send(at.js, order)
        await check(at, await at.ended(good.clip), frames(4, 5))
        for order, reason in ((nothing, "nothing was recorded"), (lost, "has been lost"), (never, "nothing was")):
            ended = await at.ended(order.clip)
            assert ended.state == "failed"
            assert reason in ended.error
            assert not at.file(order.clip).exists()
            assert await at.told(order.clip) == ["processing", "failed"]


def zeros_at_the_end(data: bytes) -> bytes:
    """What a power cut leaves where a file's length reached the disk before its bytes."""
    return data[: len(data) * 2 // 3] + bytes(len(data) - len(data) * 2 // 3)


def zeroed_media(data: bytes) -> bytes:
    """All boxes stand, and what they are of is gone."""
    made, at = bytearray(data), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"mdat":
            made[at + 8 : at + size] = bytes(size - 8)
        at += size
    return bytes(made)


DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "gone": None,
    "empty": lambda _: b"",
    "zeroed": lambda data: bytes(len(data)),
    "zeros at its end": zeros_at_the_end,
    "its media zeroed": zeroed_media,
    "cut short": lambda data: data[: len(data) // 2],
    "rubbish": lambda _: b"\0\1garbage" * 5000,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("where", [0, 1, 2])
async def test_what_was_lost_is_a_gap(
    nats: NatsServer, tmp_path: Path, first: Recording, damage: str, where: int
) -> None:
    """Of three segments of 2 s, one at a time: the rest is cut to the frame, fast file and exact one."""
    async with desk(nats, tmp_path) as at, serving(at):
        segments = at.session(first)
        await at.announce(segments)
        path, how = at.store.path(segments[where].key), DAMAGES[damage]
        data = path.read_bytes()
        path.unlink()
        if how is not None:
            path.write_bytes(how(data))
        order = at.order(1, 5)
        await send(at.js, order)
        ended = await at.ended(order.clip)
        lost = (max(2 * where, 1), min(2 * where + 2, 5))
        await check(at, ended, [n for n in frames(1, 5) if n not in frames(*lost)])
        assert [(gap.start, gap.duration) for gap in ended.gaps if gap.track == "all"] == [(lost[0], lost[1] - lost[0])]


async def test_at_the_live_edge_what_still_comes_is_waited_for(
    nats: NatsServer, tmp_path: Path, first: Recording
) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.job("processing")
        at.begun_ms = SystemClock().now_ms() - 5500  # 5.5 s of it have happened, the last 1.5 s are on their way
        segments = at.session(first)
        await at.announce(segments[:2])
        order = at.order(1, 5, live=True)
        await send(at.js, order)

        async def fast() -> bool:
            found = await at.record(order.clip)
            return bool(found and found.file)

        await until(fast)
        assert play(at.store.path(f"clips/{ACCOUNT}/{order.clip}/segment.mp4")).numbers == frames(0, 4)
        await at.announce(segments[2:])
        await check(at, await at.ended(order.clip), frames(1, 5))


async def test_a_clip_that_may_wait_is_taken_up_when_its_end_has_come(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a schedule, within the time in which the server drops repeats of the order."""
    monkeypatch.setattr(work, "AWAY", timedelta(0))
    async with desk(nats, tmp_path) as at, serving(at, "clipper", "exporter", "scheduler"):
        await at.job("processing")
        at.begun_ms = SystemClock().now_ms() - 1000
        segments = at.session(first)
        await at.announce(segments[:1])
        order = at.order(0, 3, live=True, wait=True)
        await send(at.js, order, dedup=True)

        async def waits() -> bool:
            found = await at.record(order.clip)
            return bool(found and found.state == "waiting")

        await until(waits)
        await at.announce(segments[1:])
        await check(at, await at.ended(order.clip), frames(0, 3))
        assert (await at.told(order.clip))[:2] == ["waiting", "processing"]


async def cancel(at: Desk, clip: str) -> int:
    return await send(at.js, ClipCancel(account=ACCOUNT, clip=clip, at_ms=SystemClock().now_ms()), times=2)


async def test_cancelled_before_it_is_taken_up_while_it_waits_and_after(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SOON", timedelta(milliseconds=50))
    async with desk(nats, tmp_path) as at:
        await at.announce(at.session(first))
        early = at.order(1, 2)
        await cancel(at, early.clip)
        async with serving(at, "clipper"):

            async def asked() -> bool:
                return bool(await redelivered(at.js, "clipper-cancel", ACCOUNT))

            await until(asked)
            await send(at.js, early)
            assert (await at.ended(early.clip)).state == "cancelled"
            await at.job("processing")
            waiting = at.order(1, 600, live=True, wait=True, clock="wall")
            await send(at.js, waiting)
            await until(lambda: at.record(waiting.clip))
            await cancel(at, waiting.clip)
            assert (await at.ended(waiting.clip)).state == "cancelled"
            await until(lambda: idle(at.js, "clipper-cancel"))
            held = await at.js.stream_info("SCHEDULES", subjects_filter=f"schedules.{ACCOUNT}.>")
            assert not held.state.subjects
        async with serving(at):
            late = at.order(1, 2)
            await send(at.js, late)
            ended = await at.ended(late.clip)
            sequence = await cancel(at, late.clip)
            await until(lambda: idle(at.js, "clipper-cancel", sequence))
            assert await at.record(late.clip) == ended
            await check(at, ended, frames(1, 2))


async def test_cancelled_while_it_is_cut(
    nats: NatsServer, tmp_path: Path, first: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = threading.Event(), threading.Event()
    real = ClipCutter.exact

    def slow(self: ClipCutter, *args: Any) -> Any:
        begun.set()
        args[-1].wait(60)
        try:
            return real(self, *args)
        finally:
            over.set()

    monkeypatch.setattr(ClipCutter, "exact", slow)
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(first))
        order = at.order(1, 2)
        await send(at.js, order)
        assert await asyncio.to_thread(begun.wait, 60)
        await cancel(at, order.clip)
        assert await asyncio.to_thread(over.wait, 60)
        ended = await at.ended(order.clip)
        assert ended.state == "cancelled"
        await until(lambda: idle(at.js, "clipper-refine"))
        assert await at.told(order.clip) == ["processing", "clips.segment_accurate.ready", "cancelled"]
        assert not at.store.path(f"clips/{ACCOUNT}/{order.clip}/frame.mp4").exists()
        await until(lambda: idle(at.js, "clipper-aborted"))
        assert ended.file is not None
        assert play(at.store.path(ended.file.key)).numbers == frames(0, 2), "the file that it has stays"
        monkeypatch.undo()
        other = at.order(2, 3)  # the lane is free again
        await send(at.js, other)
        await check(at, await at.ended(other.clip), frames(2, 3))


async def test_killed_in_the_middle_of_both_cuts(nats: NatsServer, tmp_path: Path, first: Recording) -> None:
    async with desk(nats, tmp_path) as at:
        lanes = ("clipper-create", "clipper-refine")
        for lane in lanes:
            await apply(at.js, lane, timedelta(seconds=1))
        await at.announce(at.session(first))
        order = at.order(1, 4)
        await send(at.js, order)
        for _ in range(2):
            with child(at.settings, tmp_path / "log", "tests.support.clipper_child", str(tmp_path)) as process:
                assert await asyncio.to_thread(process.wait, 60) == -9
        with child(at.settings, tmp_path / "log", "tests.support.clipper_child", str(tmp_path)):
            async with serving(at, "exporter"):
                ended = await at.ended(order.clip)
        await check(at, ended, frames(1, 4))
        for lane in lanes:
            await apply(at.js, lane, timedelta(seconds=30))
