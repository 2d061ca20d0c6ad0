"""Clips of recordings whose dates are not even: bursts, encoders that stand still."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from shared.messages.media import SegmentWritten
from shared.runtime.clock import SystemClock
from tests.support.clipper_desk import Desk, check, desk, frames, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.shared_bus import send


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Ten seconds: frames 0 to 299 in five segments."""
    return record(Spec(seconds=Fraction(10)), tmp_path_factory.mktemp("ten"))


def burst(n: int) -> int:
    """All ten seconds came within the last second."""
    return -1000 + 200 * n


def stood_still(n: int) -> int:
    """The encoder stood still for 7 s after 4 s of media; the last segment has just come."""
    return 2000 * n - 10_000 - (0 if n >= 2 else 7000)


def slow(n: int) -> int:
    """The encoder's clock gains 4 ms a segment on ours."""
    return 1996 * n - 10_000


CASES: list[tuple[Callable[[int], int], dict[str, Any], list[int]]] = [
    (burst, {"clock": "stream", "start": 0, "end": 10}, frames(0, 10)),
    (burst, {"clock": "stream", "start": 3, "end": 9}, frames(3, 9)),
    (stood_still, {"clock": "wall", "start": -5, "end": -1}, frames(5, 9)),
    (stood_still, {"clock": "wall", "start": -8, "end": 0, "held": "end"}, frames(2, 10)),
    (stood_still, {"clock": "wall", "start": -15, "end": -9, "held": "start"}, frames(2, 8)),
    (stood_still, {"clock": "wall", "start": -15, "end": -9}, frames(2, 4)),
    (slow, {"clock": "wall", "start": Fraction("-8.004"), "end": Fraction("-2.004")}, frames(2, 8)),
    (slow, {"clock": "wall", "start": Fraction("-10"), "end": Fraction("-4")}, frames(0, 6)),
]


def dated(segments: list[SegmentWritten], date: Callable[[int], int], now_ms: int) -> list[SegmentWritten]:
    return [s.model_copy(update={"wall_start_ms": now_ms + date(n)}) for n, s in enumerate(segments)]


@pytest.mark.parametrize(("date", "asked", "numbers"), CASES, ids=lambda v: getattr(v, "__name__", None))
async def test_what_lies_recorded_is_cut(
    nats: NatsServer,
    tmp_path: Path,
    ten: Recording,
    date: Callable[[int], int],
    asked: dict[str, Any],
    numbers: list[int],
) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        now = SystemClock().now_ms()
        segments = dated(at.session(ten), date, now)
        await at.job("processing")
        await at.announce(segments)
        await at.publishing(segments, ended=True)
        order = _order(at, asked, now)
        await send(at.js, order)
        ended = await at.ended(order.clip)
        await check(at, ended, numbers)
        assert ended.gaps == ()


def _order(at: Desk, asked: dict[str, Any], now_ms: int) -> Any:
    moved = Fraction(now_ms, 1000) if asked["clock"] == "wall" else 0
    selection = asked | {"start": Fraction(asked["start"]) + moved, "end": Fraction(asked["end"]) + moved}
    return at.order(
        0, asked["end"] - asked["start"], selection=selection, requested_ms=now_ms, live=True, recorded_to=Fraction(10)
    )
