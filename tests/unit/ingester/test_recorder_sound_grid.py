"""Sound on the sample grid, by the stamps of real encoders and of bad ones."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingester.recorder.sound_grid import Packet, SoundGrid

SECOND = 90_000
RATE, LENGTH = 48_000, 1024


def placed(stamps: list[int], length: int = LENGTH, rate: int = RATE) -> list[tuple[int, int]]:
    """Return each packet that was kept, by its number, and its sample."""
    grid, out = SoundGrid(rate), []
    packets = [Packet(stamp, length, n.to_bytes(4, "big")) for n, stamp in enumerate(stamps)]
    for packet in packets:
        out += grid.place(packet)
    out += grid.flush()
    assert len(out) + grid.dropped == len(stamps)
    return [(int.from_bytes(each.packet.payload, "big"), each.at) for each in out]


def exact(count: int, start: float = 0.0, length: int = LENGTH, rate: int = RATE) -> list[float]:
    """The times (s) of packets that follow each other."""
    return [start + n * length / rate for n in range(count)]


def in_ms(times: list[float]) -> list[int]:
    """RTMP's stamps, rounded to ms, as 90 kHz."""
    return [round(t * 1000) * 90 for t in times]


@pytest.mark.parametrize("length", [1024, 960, 2048], ids=str)
@pytest.mark.parametrize("rate", [48_000, 44_100, 32_000], ids=str)
@pytest.mark.parametrize("start", [0.0, 0.0004, 0.0333, 0.7777, 1.23456])
def test_millisecond_stamps_are_undone_to_a_sample(rate: int, length: int, start: float) -> None:
    """However the first stamp was rounded, all packets after the first seconds lie as near as the stamps can tell.

    Where packets' lengths are whole milliseconds, all stamps are rounded alike, and none tells by how much.
    """
    times = exact(600, start, length, rate)
    found = placed(in_ms(times), length, rate)
    assert [n for n, _ in found] == list(range(600))
    off = [stamp / SECOND - time for stamp, time in zip(in_ms(times), times, strict=True)]
    untold = (0.001 - (max(off) - min(off))) / 2
    assert max(abs(at - times[n] * rate) for n, at in found[250:]) <= untold * rate + 2
    assert max(abs(at - times[n] * rate) for n, at in found) <= rate / 1000
    steps = [b - a for (_, a), (_, b) in itertools.pairwise(found)]
    assert set(steps[250:]) == {length}, "constant durations"
    assert set(steps) <= {length - 1, length, length + 1}


def test_stamps_of_mpegts_need_no_correction() -> None:
    found = placed([round(t * SECOND) for t in exact(600, 0.1234)])
    assert {b - a for (_, a), (_, b) in itertools.pairwise(found)} == {LENGTH}


@pytest.mark.parametrize("lost", [1, 2, 3, 7])
@pytest.mark.parametrize("stamps", ["ms", "90 kHz"])
def test_lost_packets_leave_their_hole(lost: int, stamps: str) -> None:
    """What follows lies where it was, to the sample, at once."""
    times = [t for n, t in enumerate(exact(600)) if not 300 <= n < 300 + lost]
    found = placed(in_ms(times) if stamps == "ms" else [round(t * SECOND) for t in times])
    assert [at for _, at in found] == [round(t * RATE) for t in times]


def test_sound_that_begins_anew_40_ms_later() -> None:
    times = exact(300) + exact(300, 300 * LENGTH / RATE + 0.040)
    found = placed(in_ms(times))
    assert max(abs(at - times[n] * RATE) for n, at in found) <= RATE / 1000
    assert max(abs(at - times[n] * RATE) for n, at in found[450:]) <= 1.5
    assert len({b - a for (_, a), (_, b) in itertools.pairwise(found)} - {LENGTH - 1, LENGTH, LENGTH + 1}) == 1, (
        "a hole"
    )


@pytest.mark.parametrize("back", [0.025, 0.040, 0.120, 0.9])
def test_sound_sent_twice_is_left_out(back: float) -> None:
    times = exact(300) + exact(300, 300 * LENGTH / RATE - back)
    found = placed([round(t * SECOND) for t in times])
    numbers = [n for n, _ in found]
    gone = set(range(600)) - set(numbers)
    assert gone
    assert min(gone) == 300
    assert len(gone) in {int(back * RATE // LENGTH), int(back * RATE // LENGTH) + 1}
    assert all(b - a >= LENGTH - 1 for (_, a), (_, b) in itertools.pairwise(found)), "no overlap"
    assert max(abs(at - times[n] * RATE) for n, at in found) <= 48


@pytest.mark.parametrize("odd", [-500, -40, -15, 15, 21.333, 40, 90])
def test_one_odd_stamp_changes_nothing(odd: float) -> None:
    stamps = [round((t + (odd / 1000 if n == 300 else 0)) * SECOND) for n, t in enumerate(exact(600))]
    found = placed(stamps)
    assert [n for n, _ in found] == list(range(600))
    assert max(abs(at - n * LENGTH) for n, at in found) <= 8


def test_packets_stamped_in_pairs_or_bunches() -> None:
    """Some encoders give all packets of a frame's time one stamp."""
    for bunch in (2, 3):
        stamps = [round((n // bunch * bunch) * LENGTH * SECOND / RATE) for n in range(600)]
        found = placed(stamps)
        assert [n for n, _ in found] == list(range(600))
        steps = [b - a for (_, a), (_, b) in itertools.pairwise(found)]
        assert min(steps) >= LENGTH - 1
        assert max(steps) <= LENGTH + 1


def test_shaky_stamps_leave_no_holes() -> None:
    shaking = random.Random(7)
    for most in (3, 8, 15):
        stamps = [round((t + shaking.uniform(-most, most) / 1000) * SECOND) for t in exact(3000)]
        found = placed(stamps)
        kept = [n for n, _ in found]
        assert len(kept) >= 2995
        assert max(abs(at - n * LENGTH) for n, at in found) <= RATE * most * 2 / 1000


@pytest.mark.parametrize("drift", [0.0001, -0.0001, 0.0005, -0.0005])
def test_a_sound_cards_drift_is_followed(drift: float) -> None:
    times = [t * (1 + drift) for t in exact(20_000)]
    found = placed(in_ms(times))
    assert len(found) == 20_000
    assert max(abs(at - times[n] * RATE) for n, at in found) <= RATE / 200, "within 5 ms, after 7 minutes too"
    steps = [b - a for (_, a), (_, b) in itertools.pairwise(found)]
    assert set(steps) <= {LENGTH - 1, LENGTH, LENGTH + 1}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-SECOND, 30 * SECOND), max_size=60))
def test_no_stamps_make_packets_overlap(stamps: list[int]) -> None:
    found = placed(stamps)
    assert all(b - a >= LENGTH - 1 for (_, a), (_, b) in itertools.pairwise(found))
