"""Timecode labels: reading them, and counting with and without drop frame."""

import pytest

from shared.media.timecode import Counting, TimecodeError, parse_label

PAL, FILM, NTSC, DROP, DROP60 = Counting(25), Counting(24), Counting(30), Counting(30, True), Counting(60, True)
READ = [
    ("01:10:18:15", "01:10:18:15"),
    ("1:2:3:4", "01:02:03:04"),
    (" 23:59:59:29 ", "23:59:59:29"),
    ("00:01:00;02", "00:01:00;02"),
    ("00;01;00;02", "00:01:00;02"),
    ("00:01:00.02", "00:01:00:02"),
    ("00:01:00,02", "00:01:00:02"),
    ("00:00:00:119", "00:00:00:119"),
]
UNREADABLE = [
    ("", "is not a timecode"),
    ("10:00:00", "is not a timecode"),
    ("10:00:00:00:00", "is not a timecode"),
    ("-1:00:00:00", "is not a timecode"),
    ("٠١:٠٢:٠٣:٠٤", "is not a timecode"),
    ("24:00:00:00", "hours run from 0 to 23"),
    ("00:60:00:00", "minutes run from 0 to 59"),
    ("00:00:60:00", "seconds run from 0 to 59"),
    ("00:00:00:120", "frames run from 0 to 119"),
]
# SMPTE ST 12-1; at 30 drop frame, 17982 frames are ten minutes to the millisecond.
NUMBERS = [
    (DROP, "00:00:59;29", 1799),
    (DROP, "00:01:00;02", 1800),
    (DROP, "00:09:59;29", 17981),
    (DROP, "00:10:00;00", 17982),
    (DROP, "01:00:00;00", 107892),
    (DROP, "23:59:59;29", 2589407),
    (DROP60, "00:00:59;59", 3599),
    (DROP60, "00:01:00;04", 3600),
    (DROP60, "00:10:00;00", 35964),
    (NTSC, "00:01:00:00", 1800),
    (PAL, "01:10:18:15", 105465),
    (FILM, "00:00:01:00", 24),
]
NOT_COUNTED = [
    (DROP, "00:01:00;00", "left out by drop frame: the minute begins at 00:01:00;02"),
    (DROP, "00:01:00:01", "left out by drop frame"),
    (DROP60, "00:59:00;03", "the minute begins at 00:59:00;04"),
    (PAL, "00:00:00:25", "they run from 0 to 24"),
    (DROP, "00:00:00:30", "they run from 0 to 29"),
]


@pytest.mark.parametrize(("text", "read"), READ)
def test_labels_are_read(text: str, read: str) -> None:
    assert str(parse_label(text)) == read


@pytest.mark.parametrize(("text", "why"), UNREADABLE)
def test_what_is_no_label_says_why(text: str, why: str) -> None:
    with pytest.raises(TimecodeError, match=why):
        parse_label(text)


@pytest.mark.parametrize(("counting", "label", "number"), NUMBERS)
def test_labels_are_counted_and_back(counting: Counting, label: str, number: int) -> None:
    assert counting.number(parse_label(label)) == number
    assert str(counting.label(number)) == label
    assert str(counting.label(number + counting.a_day)) == label
    assert str(counting.label(number - counting.a_day)) == label


@pytest.mark.parametrize(("counting", "label", "why"), NOT_COUNTED)
def test_labels_that_a_stream_does_not_count_are_refused(counting: Counting, label: str, why: str) -> None:
    with pytest.raises(TimecodeError, match=why):
        counting.number(parse_label(label))


@pytest.mark.parametrize("counting", [DROP, DROP60])
def test_every_number_of_three_hours_has_its_own_label(counting: Counting) -> None:
    numbers = range(0, 3 * 3600 * counting.base, 7)
    assert all(counting.number(counting.label(number)) == number for number in numbers)
