"""The wall clock of media, told by arrivals: what each way of arriving does to dates, as a table."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from services.ingester.publication import Arrival
from services.ingester.recorder.wall import WallClock

START_MS = 1_700_000_000_000
RATE = 30


def run(came: Callable[[float], float], seconds: float = 40) -> tuple[WallClock, dict[float, int]]:
    """Let the frame made at t (s of media) come at `came(t)` (s); return the clock, and each date as of 2 s later."""
    frames = [n / RATE for n in range(int(seconds * RATE))]
    clock: WallClock | None = None
    dates: dict[float, int] = {}
    waiting: list[float] = []
    arrivals: Iterator[tuple[float, float]] = ((t, came(t)) for t in frames)
    now = 0.0
    for t, at in arrivals:
        now = max(now, at)
        arrival = Arrival(int(now * 1e9), START_MS + int(now * 1000))
        tick = round(t * 90_000)
        clock = clock or WallClock(0, arrival)
        clock.note(tick, arrival)
        waiting.append(t)
        while now > 1 and waiting and waiting[0] <= t - 2:
            tick = round(waiting[0] * 90_000)
            if not clock.is_clear(tick, arrival.ns - 2 * 10**9):
                break
            dates[waiting.pop(0)] = clock.at(tick) - START_MS
    assert clock is not None
    return clock, dates


def steady(t: float) -> float:
    return t


def shaky(t: float) -> float:
    return t + random.Random(int(t * RATE)).uniform(0, 0.3)


def stopped(pause: float) -> Callable[[float], float]:
    """The encoder stands still at 10 s, and goes on with its clock where it was."""
    return lambda t: t + (pause if t >= 10 else 0)


def stuck(pause: float) -> Callable[[float], float]:
    """The network stands still at 10 s, and then brings all that has waited."""
    return lambda t: max(t, 10 + pause) if t >= 10 else t


def drains(pause: float) -> Callable[[float], float]:
    """Likewise, but what has waited comes at four times its speed."""
    return lambda t: max(t, 10 + pause + (t - 10) / 4) if t >= 10 else t


def burst(length: float) -> Callable[[float], float]:
    """A relay sends what it kept (`length` s) at once; the moment at t was made `length` before it comes, all told."""
    return lambda t: max(t - length, 0)


SAME = {"steady": steady, "shaky": shaky, **{f"network stuck {p} s": stuck(p) for p in (1, 2, 3, 5, 8)},
        **{f"network drains {p} s": drains(p) for p in (2, 5)}}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_the_network_does_moves_no_date(name: str) -> None:
    _, dates = run(SAME[name])
    assert max(abs(ms - t * 1000) for t, ms in dates.items()) <= (300 if name == "shaky" else 120)


@pytest.mark.parametrize("pause", [3, 7, 60])
def test_an_encoder_that_stood_still_steps_the_dates(pause: float) -> None:
    """From the first frame after the pause on, at once; what was before keeps its date."""
    clock, dates = run(stopped(pause))
    assert max(abs(ms - t * 1000) for t, ms in dates.items() if t < 10) <= 2
    assert max(abs(ms - (t + pause) * 1000) for t, ms in dates.items() if t >= 10) <= 20
    assert clock.steps(9 * 90_000, 11 * 90_000)
    assert not clock.steps(11 * 90_000, 30 * 90_000)


@pytest.mark.parametrize("length", [0.5, 2, 4, 9])
def test_a_burst_at_the_start_was_made_before_it_came(length: float) -> None:
    clock, dates = run(burst(length))
    assert max(abs(ms - (t - length) * 1000) for t, ms in dates.items()) <= 120
    assert not clock.steps(0, 30 * 90_000)


def test_a_minute_sent_in_six_seconds_ends_now() -> None:
    """What was just sent was made just now; how old the beginning is said to be is bounded."""
    clock, _ = run(lambda t: t / 10, 60)
    assert abs(clock.at(60 * 90_000) - START_MS - 6000) <= 120
    assert clock.at(0) - START_MS >= -10_200


@pytest.mark.parametrize("speed", [0.95, 0.9, 0.99, 1.02])
def test_an_encoder_that_is_too_slow_or_too_fast_is_followed(speed: float) -> None:
    """At 0.95 of real time dates are at most half a second early, whatever the length."""
    _, dates = run(lambda t: t / speed, 120)
    off = [ms - t / speed * 1000 for t, ms in dates.items() if t > 20]
    assert max(map(abs, off)) <= (6500 * abs(1 / speed - 1)) + 120


def test_a_crystal_that_drifts_is_followed_without_steps() -> None:
    clock, dates = run(lambda t: t * 1.0001, 400)
    assert max(abs(ms - t * 1000.1) for t, ms in dates.items()) <= 20
    assert not clock.steps(0, 390 * 90_000)


def test_the_systems_clock_is_set() -> None:
    """The wall clock jumps by 30 s while media goes on: dates follow within seconds."""
    clock = WallClock(0, Arrival(0, START_MS))
    for n in range(30 * RATE):
        ms = n * 1000 // RATE
        clock.note(n * 3000, Arrival(ms * 1_000_000, START_MS + ms + (30_000 if n >= 15 * RATE else 0)))
    assert abs(clock.at(29 * 90_000) - START_MS - 59_000) <= 5
    assert abs(clock.at(10 * 90_000) - START_MS - 10_000) <= 5
