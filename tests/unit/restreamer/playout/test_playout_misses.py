"""What is said when the ranges of a file miss it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

import pytest

from services.restreamer.model import FLICKS, Media, Packet, Track
from services.restreamer.playout.order.ahead import Ahead, Failures, Listing
from services.restreamer.playout.order.programme import FileRange, Programme, nothing_there
from services.restreamer.playout.terms import DecodedPicture, Report, Warned
from shared.messages.restreams import Item, PlaylistCursor, Range, Source

BEGAN_MS = 1_540_222_200_000  # 2018-10-22 15:30:00 UTC
MINUTE_MS = 60_000
VIDEO = Track("video", "h264", b"", 320, 180)


@dataclass
class Film:
    """A minute of pictures; a recording when it knows its wall clock."""

    wall_start_ms: int | None
    duration: int | None = 60 * FLICKS
    video: Track | None = VIDEO
    audio: Track | None = None
    resumes: int | None = None

    def packets(self, start: int) -> Iterator[Packet]:
        return iter(())

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Shelf:
    film: Film

    def open(self, source: Source, stop: Event) -> Media:
        return self.film

    def picture(self, source: Source, stop: Event) -> DecodedPicture:
        raise AssertionError


def wall(start: int, end: int) -> Range:
    """Give a range in minutes from the recording's beginning."""
    return Range(clock="wall", start=BEGAN_MS + start * MINUTE_MS, end=BEGAN_MS + end * MINUTE_MS)


def file(start: int, end: int | None) -> Range:
    return Range(start=start * FLICKS, end=None if end is None else end * FLICKS)


MISSES = [
    ([wall(-20, -10)], BEGAN_MS, "the range lies before the recording begins (2018-10-22 15:30:00 UTC)"),
    ([wall(-20, 0)], BEGAN_MS, "the range lies before the recording begins (2018-10-22 15:30:00 UTC)"),
    ([wall(-9, -8), wall(-7, -6)], BEGAN_MS, "all ranges lie before the recording begins (2018-10-22 15:30:00 UTC)"),
    ([wall(1, 2)], BEGAN_MS, "the range lies after the recording's end (2018-10-22 15:31:00 UTC)"),
    (
        [wall(-9, -8), wall(1, 2)], BEGAN_MS,
        "all ranges lie outside the recording (2018-10-22 15:30:00 UTC to 2018-10-22 15:31:00 UTC)",
    ),
    ([file(60, 90)], None, "the range lies after the file's end (60 s)"),
    ([file(61, None), file(300, 500)], None, "all ranges lie after the file's end (60 s)"),
    ([wall(0, 1)], None, "the file does not tell its wall clock, which its ranges need"),
]  # fmt: skip


@pytest.mark.parametrize(("ranges", "wall_start_ms", "text"), MISSES)
def test_it_is_said_on_which_side_the_ranges_miss_the_file(
    ranges: list[Range], wall_start_ms: int | None, text: str
) -> None:
    item = Item(source=Source(kind="library", location="a", shown="a"), ranges=tuple(ranges))
    told: list[Report] = []
    listing = Listing(Programme((item,), loops=1), 0, None)
    found = Ahead(Shelf(Film(wall_start_ms)), told.append, lambda: None, Failures(), listing, PlaylistCursor())
    found._run()
    assert found.opened is None
    assert found.failed
    assert [report.text for report in told if isinstance(report, Warned)] == [text]


@pytest.mark.parametrize("wall_ms", [1 << 62, -(1 << 62), 253_402_300_799_000])
def test_a_range_that_misses_a_file_of_no_date_is_told_in_seconds(wall_ms: int) -> None:
    """What a file says of when it was made may be anything."""
    media = Film(wall_ms, duration=5 * FLICKS)
    assert nothing_there([FileRange(9 * FLICKS, None)], media).endswith("after the recording's end (5 s)")
