"""Timecodes of a recording and stream time: runs, jumps, midnight, gaps, several days, and what is not there."""

from __future__ import annotations

from fractions import Fraction

import pytest

from shared.media.timecode import Counting, Label, parse_label
from shared.media.timecode_line import (
    NoSuchTimecode,
    Run,
    Stretch,
    find,
    joined,
    label_after,
    label_at,
    runs_of,
    stretches_of,
)
from shared.media.timeline import locate
from shared.messages.media import SegmentWritten, TimecodeMark, Timecodes

PAL, DROP, NTSC = Counting(25), Counting(30, True), Counting(30)
SLOW = Fraction(30000, 1001)
QUARTER = Fraction(1, 100)  # of a label at 25 a second


def stretch(
    start: Fraction | int, length: Fraction | int, first: str, *, counting: Counting = PAL, still: bool = False
) -> Stretch:
    rate = SLOW if counting.drop else Fraction(counting.base)
    begun = Fraction(start)
    return Stretch(begun, begun + length, counting.number(parse_label(first)), counting, rate, still)


def label(text: str | None) -> Label | None:
    return None if text is None else parse_label(text)


HOUR = (stretch(0, 3600, "10:00:00:00"),)
JUMPED = (stretch(0, 100, "10:00:00:00"), stretch(100, 100, "12:00:00:00"))
AGAIN = (stretch(0, 600, "00:00:00:00"), stretch(700, 100, "00:00:00:00"))
NIGHT = (stretch(0, 100, "23:59:00:00"),)
DAYS = (stretch(0, 3 * 86400, "10:00:00:00"),)
GAP = (stretch(0, 100, "10:00:00:00"), stretch(160, 100, "10:02:40:03"))
SLEW = (stretch(0, 100, "10:00:00:00"), stretch(100, 100, "10:01:40:05"))
GLITCH = (
    stretch(0, 100, "10:00:00:00"), stretch(100, Fraction(1, 25), "11:01:40:00"),
    stretch(Fraction(2501, 25), 100, "10:01:40:01"),
)  # fmt: skip
LATE = (stretch(30, 100, "10:00:00:00"),)
STOOD = (stretch(0, 10, "10:00:00:00"), stretch(10, 20, "10:00:10:00", still=True), stretch(30, 10, "10:00:10:01"))
DROPS = (stretch(0, 1001, "00:00:00;00", counting=DROP),)

# Stretches, start and end by label, whether it waits; stream time of both (a quarter of a label before), or the error.
FOUND = [
    (HOUR, "10:00:00:00", "10:00:10:00", False, 0, 10, True),
    (HOUR, "10:18:15:05", "10:18:15:06", False, Fraction(27380, 25), Fraction(27381, 25) + 0, None),
    (HOUR, "10:59:50:00", "11:00:00:00", False, 3590, 3600, True),
    (HOUR, "10:59:50:00", "11:00:05:00", False, 3590, 3605, False),
    (HOUR, "11:10:00:00", "11:10:05:00", True, 4200, 4205, False),
    (HOUR, "10:01:00:00", None, False, 60, None, True),
    (HOUR, None, "10:01:00:00", False, None, 60, True),
    (HOUR, None, "11:00:00:00", False, None, 3600, True),
    (HOUR, None, "11:01:00:00", False, None, 3660, False),
    (NIGHT, "23:59:50:00", "00:00:10:00", False, 50, 70, True),
    (NIGHT, "00:00:10:00", "00:00:20:00", False, 70, 80, True),
    (DAYS, "10:00:00:00", "10:00:01:00", False, 2 * 86400, 2 * 86400 + 1, True),
    (DAYS, "09:59:59:00", "10:00:00:00", False, 3 * 86400 - 1, 3 * 86400, True),
    (DAYS, "23:00:00:00", "01:00:00:00", False, 2 * 86400 + 13 * 3600, 2 * 86400 + 15 * 3600, True),
    (JUMPED, "10:01:00:00", "10:01:40:00", False, 60, 100, True),
    (JUMPED, "12:00:00:00", "12:00:10:00", False, 100, 110, True),
    (AGAIN, "00:01:00:00", "00:01:10:00", False, 760, 770, True),
    (AGAIN, "00:01:00:00", "00:05:00:00", False, 60, 300, True),
    (AGAIN, "00:01:00:00", "00:05:00:00", True, 760, 1000, False),
    (AGAIN, "00:05:00:00", None, False, 300, None, True),
    (GAP, "10:01:30:00", "10:02:50:03", False, 90, 170, True),
    (GAP, "10:02:00:00", "10:02:50:03", False, 120, 170, True),
    (SLEW, "10:01:39:00", "10:01:41:05", False, 99, 101, True),
    (SLEW, "10:01:40:02", "10:01:41:05", False, 100, 101, True),
    (GLITCH, "10:01:30:00", "10:01:50:00", False, 90, 110, True),
    (GLITCH, "10:01:40:00", "10:01:50:00", False, 100, 110, True),
    (GLITCH, "10:03:00:00", "10:04:00:00", False, 180, 240, False),
    (LATE, "10:00:00:00", "10:00:01:00", False, 30, 31, True),
    (STOOD, "10:00:09:00", "10:00:10:01", False, 9, 30, True),
    (STOOD, "10:00:10:00", "10:00:11:01", False, 10, 31, True),
    (DROPS, "00:01:00;02", "00:10:00;00", False, Fraction(1800) / SLOW, Fraction(17982) / SLOW, True),
    (DROPS, "00:01:00:02", "00:01:00:03", False, Fraction(1800) / SLOW, Fraction(1801) / SLOW, True),
]  # fmt: skip
NOT_FOUND = [
    ((), "10:00:00:00", None, "start", "has no timecodes"),
    (HOUR, "09:00:00:00", None, "start", "run from 10:00:00:00 to 10:59:59:24"),
    (HOUR, "09:00:00:00", "09:00:10:00", "start", "run from 10:00:00:00"),
    (HOUR, None, "09:00:00:00", "end", "run from 10:00:00:00"),
    (HOUR, "10:10:00:00", "10:05:00:00", "end", "must be after the start"),
    (HOUR, "10:10:00:25", "10:10:05:00", "start", "they run from 0 to 24"),
    (HOUR, "10:10:00:00", "10:10:05:25", "end", "they run from 0 to 24"),
    (JUMPED, "10:01:00:00", "12:00:10:00", "end", "jump between"),
    (LATE, "09:59:50:00", None, "start", "run from 10:00:00:00"),
    (DROPS, "00:01:00:00", None, "start", "left out by drop frame: the minute begins at 00:01:00;02"),
]


def runs(stretches: tuple[Stretch, ...]) -> list[Run]:
    return runs_of(stretches)


@pytest.mark.parametrize(("stretches", "start", "end", "wait", "begins", "ends", "sure"), FOUND)
def test_labels_are_found_in_stream_time(
    stretches: tuple[Stretch, ...], start: str | None, end: str | None, wait: bool, begins: Fraction | int | None,
    ends: Fraction | int | None, sure: bool | None,
) -> None:  # fmt: skip
    if sure is None:  # 27380 labels into the hour: 18 min 15 s and 5 frames
        begins, ends, sure = Fraction(18 * 60 + 15) + Fraction(5, 25), Fraction(18 * 60 + 15) + Fraction(6, 25), True
    early = Fraction(1, 4) / stretches[0].rate
    found = find(runs(stretches), label(start), label(end), wait=wait)
    expected = (None if begins is None else begins - early, None if ends is None else ends - early)
    assert (found.start, found.end, found.sure) == (*expected, sure)


@pytest.mark.parametrize(("stretches", "start", "end", "which", "why"), NOT_FOUND)
def test_labels_that_are_not_there(
    stretches: tuple[Stretch, ...], start: str | None, end: str | None, which: str, why: str
) -> None:
    with pytest.raises(NoSuchTimecode, match=why) as caught:
        find(runs(stretches), label(start), label(end))
    assert caught.value.end == which


def jittering(count: int) -> list[Stretch]:
    """Return stretches of a picture each, each second one a label ahead."""
    first = PAL.number(parse_label("10:00:00:00"))
    return [Stretch(Fraction(n, 25), Fraction(n + 1, 25), first + n + n % 2, PAL, Fraction(25)) for n in range(count)]


def test_a_look_up_does_not_go_over_all_stretches_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = runs_of(jittering(2000))
    asked = 0

    def counted(self: Stretch) -> int:
        nonlocal asked
        asked += 1
        return self.number

    monkeypatch.setattr(Stretch, "last", property(counted))
    found = find([run], label("10:00:40:02"), label("10:00:50:02"))
    assert found == (Fraction(1001, 25) - QUARTER, Fraction(1251, 25) - QUARTER, True)
    with pytest.raises(NoSuchTimecode):
        find([run], label("09:00:00:00"), None)
    assert asked == 0


LABELS = [
    (HOUR, Fraction(0), "10:00:00:00", None),
    (HOUR, Fraction(1, 25), "10:00:00:01", "10:00:00:01"),
    (HOUR, Fraction(99, 2500), "10:00:00:01", "10:00:00:01"),
    (HOUR, Fraction(3600), "11:00:00:00", "11:00:00:00"),
    (HOUR, Fraction(3700), None, None),
    (NIGHT, Fraction(60), "00:00:00:00", "00:00:00:00"),
    (JUMPED, Fraction(100), "12:00:00:00", "10:01:40:00"),
    (LATE, Fraction(10), None, None),
    (STOOD, Fraction(20), "10:00:10:00", "10:00:10:00"),
    (DROPS, Fraction(1800) / SLOW, "00:01:00;02", "00:01:00;02"),
]


@pytest.mark.parametrize(("stretches", "at", "here", "after"), LABELS)
def test_stream_time_has_its_label(
    stretches: tuple[Stretch, ...], at: Fraction, here: str | None, after: str | None
) -> None:
    assert label_at(stretches, at) == label(here)
    assert label_after(stretches, at) == label(after)


def segments(
    *marks: tuple[TimecodeMark, ...], rate: str = "25", step: int = 180000, zero: int = 7200
) -> list[SegmentWritten]:
    """Return segments of two seconds with these marks, whose pictures are shown `zero` ticks after their decoding."""
    return [
        SegmentWritten(
            account="main", event="e" * 32, session="5" * 32, sequence=number, key=f"live/{number}",
            init_key="live/init",
            start=number * step, duration=step, timescale=90000, origin_ms=500, zero=zero, wall_start_ms=number * 2000,
            timecodes=Timecodes(rate="25", marks=some) if some else None, bytes=1, sha256="a" * 64,
        )
        for number, some in enumerate(marks)
    ]  # fmt: skip


def mark(at: int, text: str, *, still: bool = False) -> TimecodeMark:
    return TimecodeMark(at=at, label=text, still=still)


def test_segments_that_count_on_are_one_stretch() -> None:
    steady = segments((mark(7200, "10:00:00:00"),), (mark(187200, "10:00:02:00"),), (mark(367290, "10:00:04:00"),))
    found = stretches_of([locate(segment) for segment in steady])
    assert [(s.start, s.end, s.number) for s in found] == [(Fraction(1, 2), Fraction(13, 2), 900000)]
    parts = [stretches_of([locate(segment)]) for segment in reversed(steady)]
    assert joined(parts) == found


def test_a_jump_within_a_segment_begins_a_run() -> None:
    jumping = segments((mark(7200, "10:00:00:00"), mark(97200, "12:00:00:00")), (mark(187200, "12:00:01:00"),), ())
    found = runs_of(stretches_of([locate(segment) for segment in jumping]))
    assert [[(s.start, s.end) for s in run.stretches] for run in found] == [
        [(Fraction(1, 2), Fraction(3, 2))],
        [(Fraction(3, 2), Fraction(9, 2))],
    ]


def test_pictures_of_a_pair_have_one_label() -> None:
    """A segment that begins with the second of a pair does not move the label to it."""
    odd = segments(
        (mark(0, "10:00:00:00"),), (mark(181800, "10:00:02:00"), mark(183600, "10:00:02:01")), step=181800, zero=0
    )
    found = stretches_of([locate(segment) for segment in odd])
    where = find(runs_of(found), label("10:00:02:00"), None)
    assert where.start == Fraction(5, 2) - QUARTER
