"""Timecodes in SEI units, bit by bit; that FFmpeg reads the same from real encodes is in test_recorder_timecodes.py."""

import pytest

from services.ingester.recorder.sei_clock import TIME_CODE, picture_clock, read_clock
from shared.media.bitstream.bit_writer import BitWriter
from shared.media.bitstream.h264_sps import UNTOLD, PictureTiming
from shared.media.bitstream.sei import sei_messages
from shared.media.timecode import Label, parse_label
from tests.support.timecodes import PLAIN, Clock, VideoCodec, payload_of, pic_timing, sei, time_code, write_clock

HRD = PictureTiming(delays=47, structure=True, offset=5)
NO_OFFSET = PictureTiming(delays=10, structure=True, offset=0)
LABEL = parse_label("21:43:05:17")
DROP = parse_label("00:01:00;02")
BEFORE = Label(9, 8, 7, 6)


def without_stop(label: Label) -> BitWriter:
    out = BitWriter()
    out.bits(1, 2)
    out.flag(value=True)
    out.flag(value=False)
    write_clock(out, Clock(label), 9)
    out.bits(0, 5)
    return out


def overstated(label: Label) -> bytes:
    """Return a time code whose size counts an emulation prevention byte, as Moblin writes them."""
    payload = payload_of(without_stop(label))
    return sei("hevc", TIME_CODE, payload, size=len(payload) + 1)


READ = [
    ("h264", pic_timing([Clock(LABEL)]), PLAIN, "21:43:05:17"),
    ("h264", pic_timing([Clock(LABEL)], timing=HRD), HRD, "21:43:05:17"),
    ("h264", pic_timing([Clock(LABEL)], timing=NO_OFFSET), NO_OFFSET, "21:43:05:17"),
    ("h264", pic_timing([Clock(DROP)]), PLAIN, "00:01:00;02"),
    ("h264", pic_timing([Clock(DROP._replace(drop=False), dropped=True)]), PLAIN, "00:01:00;02"),
    ("h264", pic_timing([Clock(LABEL), Clock(LABEL)], structure=3), PLAIN, "21:43:05:17"),
    ("h264", pic_timing([None, Clock(LABEL)], structure=4), PLAIN, "21:43:05:17"),
    ("h264", pic_timing([Clock(LABEL)], structure=1), PLAIN, "21:43:05:17"),
    ("h264", pic_timing([Clock(LABEL, parts=0, full=False)]), PLAIN, "09:08:07:17"),
    ("h264", pic_timing([Clock(LABEL, parts=1, full=False)]), PLAIN, "09:08:05:17"),
    ("h264", pic_timing([Clock(LABEL, parts=2, full=False)]), PLAIN, "09:43:05:17"),
    ("h264", pic_timing([Clock(LABEL, parts=3, full=False)]), PLAIN, "21:43:05:17"),
    ("h264", sei("h264", 5, bytes(300)) + b"", PLAIN, None),
    ("h264", pic_timing([None]), PLAIN, None),
    ("h264", pic_timing([], timing=UNTOLD), UNTOLD, None),
    ("h264", pic_timing([Clock(LABEL)], structure=9), PLAIN, None),
    ("h264", pic_timing([Clock(LABEL)])[:5], PLAIN, None),
    ("h264", pic_timing([Clock(Label(25, 0, 0, 0))]), PLAIN, None),
    ("h264", pic_timing([Clock(Label(1, 63, 0, 0))]), PLAIN, None),
    ("h264", b"\x06", PLAIN, None),
    ("h264", b"\x06\xff\xff\xff", PLAIN, None),
    ("hevc", time_code([Clock(LABEL)]), UNTOLD, "21:43:05:17"),
    ("hevc", time_code([Clock(DROP)]), UNTOLD, "00:01:00;02"),
    ("hevc", time_code([None, Clock(LABEL), Clock(LABEL)]), UNTOLD, "21:43:05:17"),
    ("hevc", time_code([Clock(LABEL, parts=1, full=False)]), UNTOLD, "09:08:05:17"),
    ("hevc", time_code([Clock(Label(0, 0, 0, 119))]), UNTOLD, "00:00:00:119"),
    ("hevc", overstated(Label(0, 0, 0, 0)), UNTOLD, "00:00:00:00"),
    ("hevc", time_code([]), UNTOLD, None),
    ("hevc", time_code([Clock(LABEL)])[:5], UNTOLD, None),
]


@pytest.mark.parametrize(("codec", "unit", "timing", "read"), READ)
def test_timestamps_are_read(codec: VideoCodec, unit: bytes, timing: PictureTiming, read: str | None) -> None:
    clock = read_clock(codec, unit, timing)
    label = clock.after(BEFORE) if clock else None
    assert (None if label is None else str(label)) == read


def test_a_partial_timestamp_with_nothing_before_it_is_none() -> None:
    clock = read_clock("h264", pic_timing([Clock(LABEL, parts=1, full=False)]), PLAIN)
    assert clock is not None
    assert clock.after(None) is None


def test_the_first_timestamp_before_the_slices_is_the_pictures() -> None:
    units = [sei("h264", 0, b"\x80"), pic_timing([Clock(LABEL)]), pic_timing([Clock(DROP)]), b"\x65" + bytes(9)]
    for size in (1, 2, 4):
        sample = b"".join(len(unit).to_bytes(size, "big") + unit for unit in units)
        clock = picture_clock("h264", sample, size, PLAIN)
        assert clock is not None
        assert str(clock.after(None)) == "21:43:05:17"
    behind = b"".join(len(unit).to_bytes(4, "big") + unit for unit in reversed(units))
    assert picture_clock("h264", behind, 4, PLAIN) is None
    assert picture_clock("h264", b"\0\0\xff\xff\x06", 4, PLAIN) is None


def sample(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


EMPTY = b"\x05\x00"
TIMED = pic_timing([Clock(LABEL)])
# The units of a picture, and whether its label is found: what encoders send, and what is only there to cost time.
CRAFTED = [
    ([b"\x06" + 9 * EMPTY + TIMED[1:]], True),
    ([b"\x06" + 500_000 * EMPTY + TIMED[1:]], False),
    ([b"\x06" + 500_000 * EMPTY, TIMED], True),
    ([b"\x06" + 1_000_000 * b"\xff", TIMED], True),
    ([b"\x06" + 300_000 * b"\0\0\3\1", TIMED], True),
    ([sei("h264", 5, bytes(60_000)), TIMED], True),
    ([b"\x06\x05\x00\x80"] * 9 + [TIMED], True),
    ([b"\x06\x05\x00\x80"] * 100_000 + [TIMED], False),
]


@pytest.mark.parametrize(("units", "found"), CRAFTED)
def test_no_picture_is_looked_through_without_end(units: list[bytes], found: bool) -> None:
    clock = picture_clock("h264", sample(*units, b"\x65" + bytes(9)), 4, PLAIN)
    assert (clock is not None and str(clock.after(None)) == "21:43:05:17") == found


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_of_endless_empty_messages_a_few_are_read(codec: VideoCodec) -> None:
    assert len(list(sei_messages(codec, b"\x06" + 500_000 * EMPTY))) <= 64
