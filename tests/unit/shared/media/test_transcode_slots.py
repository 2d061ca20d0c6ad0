"""Frames of any rate on the slots of a steady one."""

from __future__ import annotations

from fractions import Fraction

import pytest

from shared.media.transcode.slots import Slots
from shared.media.transcode.streams import FLICKS

FRAME = FLICKS // 25


def test_a_frame_stays_on_up_to_the_out_point() -> None:
    slots: Slots[str] = Slots(Fraction(25))
    shown = [*slots.push(0, "a"), *slots.push(FRAME, "b"), *slots.finish(10 * FRAME)]
    assert [frame for _, frame in shown] == ["a"] + 9 * ["b"]


@pytest.mark.parametrize(
    ("step", "shown"), [(FRAME, 1), (10 * FRAME, 10), (2 * FLICKS, 50), (3 * FLICKS, 50), (600 * FLICKS, 50)]
)
def test_the_last_picture_stays_on_as_long_as_the_one_before_it_and_two_seconds_at_most(step: int, shown: int) -> None:
    slots: Slots[str] = Slots(Fraction(25))
    frames = [frame for _, frame in (*slots.push(0, "a"), *slots.push(step, "b"), *slots.finish())]
    assert frames == ["a"] * (step // FRAME) + ["b"] * shown


CADENCES = [
    (Fraction(60), Fraction(30), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]),
    (Fraction(50), Fraction(25), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]),
    (Fraction(60000, 1001), Fraction(30000, 1001), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]),
    (Fraction(120), Fraction(30), [0, 4, 8, 12, 16, 20, 24]),
    (Fraction(60), Fraction(24), [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]),
    (Fraction(60), Fraction(25), [0, 2, 5, 7, 10, 12, 14, 17, 19, 22, 24]),
    (Fraction(50), Fraction(30), [0, 2, 3, 5, 7, 8, 10, 12, 13, 15, 17, 18, 20, 22, 23, 25]),
    (Fraction(30), Fraction(25), [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 22, 23, 24, 25]),
    (Fraction(25), Fraction(30), [0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 12, 13, 14, 15, 16, 17, 17, 18, 19,
                                  20, 21, 22, 22, 23, 24, 25]),
    (Fraction(24), Fraction(30), [0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 10, 11, 12, 13, 13, 14, 15, 16, 17, 17, 18,
                                  19, 20, 21, 21, 22, 23, 24, 25, 25]),
    (Fraction(30), Fraction(60), [number for number in range(26) for _ in range(2)]),
    (Fraction(25), Fraction(25), list(range(26))),
    (Fraction(1), Fraction(5), [number for number in range(26) for _ in range(5)]),
]  # fmt: skip


@pytest.mark.parametrize("rounded", [False, True], ids=["exact", "ms"])
@pytest.mark.parametrize(("own", "rate", "numbers"), CADENCES)
def test_every_rate_becomes_another_as_evenly_as_it_can(
    own: Fraction, rate: Fraction, numbers: list[int], *, rounded: bool
) -> None:
    slots: Slots[int] = Slots(rate)
    shown = []
    for number in range(26):
        at = number / own
        shown += slots.push(int(round(at * 1000) * FLICKS / 1000 if rounded else at * FLICKS), number)
    shown += slots.finish()
    assert [slot for slot, _ in shown] == list(range(len(numbers)))
    assert [number for _, number in shown] == numbers


def test_of_pictures_too_many_for_a_slot_the_nearest_is_shown_and_the_last_stays_on() -> None:
    slots: Slots[str] = Slots(Fraction(25))
    times = {"a": 0, "b": FRAME, "c": FRAME * 9 // 8, "d": FRAME * 11 // 8, "e": 5 * FRAME}
    shown = [pair for name, at in times.items() for pair in slots.push(at, name)]
    assert [name for _, name in [*shown, *slots.finish(6 * FRAME)]] == ["a", "b", "d", "d", "d", "e"]
