"""Long clips go behind long ones: short ones wait for none of them."""

from __future__ import annotations

import threading
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.clipper import work
from services.clipper.cutter import ClipCutter
from shared.messages.clips import ClipCopyLong, ClipRefineLong
from shared.messages.edits import Crop, PictureEdit
from tests.support.clipper_desk import ACCOUNT, check, desk, frames, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import idle, send

SECONDS = 12
LONG_S = 8


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(seconds=Fraction(SECONDS)), tmp_path_factory.mktemp("film"))


@pytest.fixture
def bound(film: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the film is the most that a short clip is cut from."""
    monkeypatch.setattr(work, "LONG", sum(segment.path.stat().st_size for segment in film.segments) // 2)


def holding(monkeypatch: pytest.MonkeyPatch, step: str) -> tuple[threading.Event, list[str]]:
    """Let no long cut of a kind go on until the event is set; return it and the keys of those begun."""
    let, begun = threading.Event(), list[str]()
    real = getattr(ClipCutter, step)

    def cut(self: ClipCutter, footage: Any, key: str, *more: Any, **options: Any) -> Any:
        if footage.bytes > work.LONG:
            begun.append(key)
            assert let.wait(60)
        return real(self, footage, key, *more, **options)

    monkeypatch.setattr(ClipCutter, step, cut)
    return let, begun


async def are(begun: list[str], count: int) -> bool:
    return len(begun) == count


@pytest.mark.parametrize(("step", "at_once"), [("fast", 1), ("exact", 1)])
async def test_a_short_clip_waits_for_no_long_one(
    nats: NatsServer, tmp_path: Path, film: Recording, bound: None, monkeypatch: pytest.MonkeyPatch, step: str,
    at_once: int,
) -> None:  # fmt: skip
    let, begun = holding(monkeypatch, step)
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(film))
        long = [at.order(Fraction(number, 30), LONG_S) for number in range(4)]
        for order in long:
            await send(at.js, order)
        await until(partial(are, begun, at_once))
        for lane in ("clipper-create", "clipper-refine"):
            await until(lambda lane=lane: idle(at.js, lane))
        short = at.order(1, 2)
        await send(at.js, short)

        async def over() -> bool:
            kept = await at.record(short.clip)
            return kept is not None and kept.state == "finished"

        await until(over)
        assert len(begun) == at_once, "long ones wait for each other"
        let.set()
        for number, order in enumerate(long):
            await check(at, await at.ended(order.clip), frames(Fraction(number, 30), LONG_S))
            assert await at.told(order.clip) == [
                "processing", "clips.segment_accurate.ready", "clips.frame_accurate.ready", "finished",
            ]  # fmt: skip
        await check(at, await at.ended(short.clip), frames(1, 2))


async def test_each_long_step_twice(nats: NatsServer, tmp_path: Path, film: Recording, bound: None) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(film))
        order = at.order(0, LONG_S)
        await send(at.js, order, times=2)
        ended = await at.ended(order.clip)
        for step in (ClipCopyLong, ClipRefineLong):
            await send(at.js, step(account=ACCOUNT, clip=order.clip), times=2)
        after = await at.ended(order.clip)
        await check(at, after, frames(0, LONG_S))
        assert after.model_copy(update={"changed_ms": 0}) == ended.model_copy(update={"changed_ms": 0})
        assert (await at.told(order.clip)).count("finished") == 1


async def test_every_edit_goes_behind_long_ones(
    nats: NatsServer, tmp_path: Path, film: Recording, bound: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    let, begun = holding(monkeypatch, "exact")
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(film))
        await send(at.js, at.order(0, LONG_S))
        await until(partial(are, begun, 1))
        edited = at.order(1, Fraction(4, 3), edit=PictureEdit(crop=Crop(aspect="1:1")))
        await send(at.js, edited)
        await until(lambda: idle(at.js, "clipper-refine"))
        kept = await at.record(edited.clip)
        assert kept is not None
        assert kept.state == "processing"
        let.set()
        assert (await at.ended(edited.clip)).state == "finished"
