"""Timecodes of real encodes, as the recorder tells them segment by segment; FFmpeg's decoder is the witness."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from services.ingester.recorder.label_rate import LabelRate
from services.ingester.recorder.model import SegmentInfo
from shared.media.timecode import Counting, Label, parse_label
from tests.support.framecode_record import Spec
from tests.support.media_recording import Recorded, pieces
from tests.support.timecodes import Clock, decoded, labelled, pic_timing

PAL, NTSC, DROP, FIFTY, SIXTY = Counting(25), Counting(30), Counting(30, True), Counting(50), Counting(60)
SLOW = Fraction(30000, 1001)
TIMED = "pic-struct=1"


def spec(rate: Fraction | int, codec: str = "h264", encoder: str = "", bframes: int = 2) -> Spec:
    """Return four seconds in two closed groups of pictures."""
    with_struct = f"{TIMED}:{encoder}".rstrip(":") if codec == "h264" else encoder
    gop = round(2 * rate)
    return Spec(codec, Fraction(rate), bframes, gop, Fraction(4), audio=None, encoder=with_struct)


def counting_on(counting: Counting, first: str, share: int = 1) -> Callable[[int], Label]:
    number = counting.number(parse_label(first))
    return lambda picture: counting.label(number + picture // share)


def recorded(path: Path) -> list[SegmentInfo]:
    sink = Recorded(path.with_suffix(""))
    sink.run("mpegts" if path.suffix == ".ts" else "flv", pieces(path.read_bytes()))
    return sink.segments


def told(segment: SegmentInfo) -> tuple[str | None, str | None, int]:
    found = segment.timecodes
    return segment.timecode, found.rate if found else None, len(found.marks) if found else 0


# What is encoded, its first label, how many pictures share one; the labels of both segments, and the labels a second.
STREAMS = {
    "25": (spec(25), PAL, "10:00:00:00", 1, ("10:00:00:00", "10:00:02:00"), "25"),
    "midnight": (spec(25), PAL, "23:59:58:12", 1, ("23:59:58:12", "00:00:00:12"), "25"),
    "29.97 drop": (spec(SLOW), DROP, "00:00:58;10", 1, ("00:00:58;10", "00:01:00;12"), "30000/1001"),
    "29.97 drop, tenth": (spec(SLOW), DROP, "00:09:58;10", 1, ("00:09:58;10", "00:10:00;10"), "30000/1001"),
    "29.97": (spec(SLOW), NTSC, "00:00:58:10", 1, ("00:00:58:10", "00:01:00:10"), "30000/1001"),
    "30": (spec(30), NTSC, "00:00:58:10", 1, ("00:00:58:10", "00:01:00:10"), "30"),
    "59.94": (spec(2 * SLOW), SIXTY, "00:00:00:58", 1, ("00:00:00:58", "00:00:02:58"), "60000/1001"),
    "50": (spec(50), FIFTY, "00:00:00:30", 1, ("00:00:00:30", "00:00:02:30"), "50"),
    "50 in pairs": (spec(50), PAL, "00:00:00:20", 2, ("00:00:00:20", "00:00:02:20"), "25"),
    "59.94 in pairs": (spec(2 * SLOW), DROP, "00:00:58;00", 2, ("00:00:58;00", "00:01:00;02"), "30000/1001"),
    "23.976": (spec(Fraction(24000, 1001)), Counting(24), "00:00:00:05", 1, ("00:00:00:05", "00:00:02:05"),
               "24000/1001"),
    "hrd": (spec(25, encoder="nal-hrd=vbr:vbv-maxrate=2000:vbv-bufsize=2000"), PAL, "10:00:00:00", 1,
            ("10:00:00:00", "10:00:02:00"), "25"),
    "open": (spec(25, encoder="open-gop=1", bframes=3), PAL, "10:00:00:00", 1, ("10:00:00:00", "10:00:01:23"), "25"),
    "hevc": (spec(SLOW, "hevc"), DROP, "00:00:58;10", 1, ("00:00:58;10", "00:01:00;12"), "30000/1001"),
}  # fmt: skip


@pytest.mark.parametrize("container", ["flv", "ts"])
@pytest.mark.parametrize("name", STREAMS)
def test_each_segment_tells_the_timecode_of_its_first_picture(tmp_path: Path, name: str, container: str) -> None:
    what, counting, first, share, labels, rate = STREAMS[name]
    label_of = counting_on(counting, first, share)
    path = labelled(what, label_of, tmp_path / f"stream.{container}")
    if what.rate <= 30:  # above that FFmpeg halves what it tells
        seen = [text and text.replace(";", ":") for text in decoded(path)]
        assert seen == [str(label_of(picture)).replace(";", ":") for picture in range(what.frames)]
    segments = recorded(path)
    assert [told(segment) for segment in segments] == [(label, rate, 1) for label in labels]


def once(counting: Counting, labels: dict[int, str]) -> Callable[[int], Label | bytes | None]:
    """Label pictures one by one; the rest has none."""
    return lambda picture: parse_label(labels[picture]) if picture in labels else None


def partial(picture: int) -> bytes:
    """Full timestamps every second, and the frame alone in between."""
    label = counting_on(PAL, "10:00:00:00")(picture)
    return pic_timing([Clock(label, full=label.frames == 0, parts=0)])


ODD = {
    "none": (lambda _: None, [(None, None, 0), (None, None, 0)], set()),
    "late": (
        lambda n: counting_on(PAL, "10:00:00:00")(n) if n >= 30 else None,
        [(None, None, 0), ("10:00:02:00", "25", 1)], set(),
    ),
    "keyframes alone": (once(PAL, {0: "10:00:00:00", 50: "10:00:02:00"}),
                        [("10:00:00:00", "25", 1), ("10:00:02:00", "25", 1)], set()),
    "partial": (partial, [("10:00:00:00", "25", 1), ("10:00:02:00", "25", 1)], set()),
    "a jump": (
        lambda n: counting_on(PAL, "10:00:00:00" if n < 70 else "05:00:00:00")(n),
        [("10:00:00:00", "25", 1), ("10:00:02:00", "25", 2)], {(70 - 50, "05:00:02:20", False)},
    ),
    "stands still": (
        lambda n: counting_on(PAL, "10:00:00:00")(min(n, 60)),
        [("10:00:00:00", "25", 1), ("10:00:02:00", "25", 2)], {(10, "10:00:02:10", True)},
    ),
    "always the same": (
        lambda _: parse_label("00:00:00:00"),
        [("00:00:00:00", "25", 1), ("00:00:00:00", "25", 1)], {(0, "00:00:00:00", True)},
    ),
    "random": (lambda n: PAL.label(n * 7919 * 7919), [("00:00:00:00", "25", 50), ("14:14:47:00", "25", 50)], set()),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_timecodes_that_come_late_jump_or_stand_still(tmp_path: Path, name: str) -> None:
    label_of, expected, marks = ODD[name]
    what = spec(25, bframes=0 if name == "partial" else 2)  # parts are carried over in the order of decoding
    segments = recorded(labelled(what, label_of, tmp_path / "stream.ts"))
    if name == "random":
        assert all(segment.timecodes is None or len(segment.timecodes.marks) <= 64 for segment in segments)
        return
    assert [told(segment) for segment in segments] == expected
    last = segments[-1]
    first = last.timecodes.marks[0].at if last.timecodes else 0
    found = {((m.at - first) // 3600, m.label, m.still) for m in last.timecodes.marks} if last.timecodes else set()
    assert marks <= found


# Labels of the pictures (90 kHz, label), the pictures, and what the stream says; labels a second, drop frame.
SPARSE = [
    ([(0, "10:00:00:00"), (180000, "10:00:02:00")], range(0, 180001, 3600), None, (25, 25, False)),
    ([(0, "10:00:00:13"), (180000, "10:00:02:13")], range(0, 180001, 1800), None, (50, 50, False)),
    ([(0, "10:00:00:20"), (45000, "10:00:01:08")], range(0, 45001, 1800), None, (25, 25, False)),
    ([(0, "10:00:00:00"), (180000, "10:00:02:00")], [0, 180000], (1001, 30000), (30, Fraction(30000, 1001), False)),
    ([(0, "00:00:00;00")], range(0, 90000, 3003), None, (30, Fraction(30000, 1001), True)),
    ([(0, "00:01:00;00")], range(0, 90000, 3003), None, (30, Fraction(30), False)),
    ([(0, "00:00:00;00")], range(0, 90000, 3600), None, (25, 25, False)),
    ([(0, "00:00:00:59")], range(0, 90000, 3000), None, (60, 60, False)),
    ([(0, "00:00:00:00"), (810810, "00:00:09:00")], range(0, 810811, 3003), None, (30, Fraction(30000, 1001), False)),
    ([(0, "00:00:00:00")], [0], None, None),
    ([(n * 3600, f"00:00:00:{n if n != 5 else 119:02}") for n in range(25)], range(0, 90000, 3600), None,
     (25, 25, False)),
    ([(n * 3003, f"00:00:00{':' if n != 5 else ';'}{n:02}") for n in range(25)], range(0, 75075, 3003),
     (1001, 30000), (30, Fraction(30000, 1001), False)),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "shown", "unit", "expected"), SPARSE)
def test_the_rate_of_few_labels(
    labels: list[tuple[int, str]], shown: list[int], unit: tuple[int, int] | None, expected: tuple[int, Fraction, bool]
) -> None:
    found = LabelRate().learn([(at, parse_label(label)) for at, label in labels], list(shown), unit)
    assert (None if found is None else (found[0].base, found[1], found[0].drop)) == expected
