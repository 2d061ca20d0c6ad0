"""What decides about faulty sources: versions of a file, names, queries, holes in playlists, blocks of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.restreamer.model import FLICKS, SourceError
from services.restreamer.sources.access import Limits
from services.restreamer.sources.origins.answers import Version
from services.restreamer.sources.origins.files import BlockFile
from services.restreamer.sources.playlists.holes import MOST_REFUSED, MOST_SILENT, Holes
from services.restreamer.sources.playlists.joined import name_of
from services.restreamer.sources.playlists.listed import with_query_of
from services.restreamer.sources.playlists.playlist import Bytes, Segment
from services.restreamer.sources.playlists.runs import Runs

NOON, LATER = "Mon, 01 Jan 2024 12:00:00 GMT", "Mon, 01 Jan 2024 12:00:01 GMT"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Version(9, '"a"', ""), Version(9, '"a"', ""), True),
        (Version(9, '"a"', ""), Version(9, '"b"', ""), False),
        (Version(9, '"a"', ""), Version(9, "", ""), True),
        (Version(9, "", ""), Version(8, "", ""), False),
        (Version(None, "", ""), Version(8, "", ""), True),
        (Version(9, '"a"', NOON), Version(9, '"b"', NOON), True),
        (Version(9, '"a"', NOON), Version(8, '"a"', NOON), False),
        (Version(9, '"a"', NOON), Version(9, '"a"', LATER), False),
        (Version(9, '"a"', NOON), Version(9, '"b"', ""), False),
    ],
)
def test_versions_of_a_file(one: Version, other: Version, same: bool) -> None:
    assert one.agrees(other) == other.agrees(one) == same


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("a.ts", "a.ts"),
        ("http://h/x/b%20c.ts?token=hidden#d", "b c.ts"),
        ("../y/", "y"),
        ("", "unnamed"),
        ("http://[h/secret", "unnamed"),
        ("a\x1b[31m%0d.ts", "a[31m.ts"),
        ("x" * 500, "x" * 80),
    ],
)
def test_names_of_segments(uri: str, name: str) -> None:
    assert name_of(uri) == name


@pytest.mark.parametrize(
    ("playlist", "address", "wanted"),
    [
        ("http://h/l.m3u8?t=1", "http://h/a.ts", "http://h/a.ts?t=1"),
        ("http://h/l.m3u8?t=1", "http://h/a.ts?u=2", "http://h/a.ts?u=2"),
        ("http://h/l.m3u8?t=1", "http://other/a.ts", "http://other/a.ts"),
        ("https://h/l.m3u8?t=1", "http://h/a.ts", "http://h/a.ts"),
        ("http://h/l.m3u8", "http://h/a.ts", "http://h/a.ts"),
    ],
)
def test_the_playlist_s_query_goes_to_its_own_server_only(playlist: str, address: str, wanted: str) -> None:
    assert with_query_of(playlist, address) == wanted


def listed(count: int) -> tuple[Segment, ...]:
    """Make segments of two seconds; the third and what follows it are another run."""
    return tuple(Segment(Bytes(f"{n}.ts"), 2 * n * FLICKS, 2 * FLICKS, n, int(n > 1)) for n in range(count))


@pytest.mark.parametrize(("lasting", "most"), [(True, MOST_REFUSED), (False, MOST_SILENT - 1)])
def test_holes_in_a_row_are_bounded(lasting: bool, most: int) -> None:
    told: list[str] = []
    holes, segments = Holes(told.append), listed(40)
    error = SourceError("gone", lasting=lasting)
    for number in range(most):
        holes.add(segments, number, 1, error, init=False)
    holes.none()
    for number in range(most):
        holes.add(segments, 20 + number, 1, error, init=False)
    with pytest.raises(SourceError, match=f"segment {20 + most + 1} of the playlist"):
        holes.add(segments, 20 + most, 1, error, init=False)
    assert len(told) == 2 * most
    assert told[0] == "segment 1 of the playlist (0.ts): gone; it is left out"


@pytest.mark.parametrize(
    ("first", "end", "runs", "present"),
    [
        (0, 1, [1, 2, 3, 3, 3], 1),
        (1, 2, [0, 1, 3, 3, 3], 0),
        (2, 3, [0, 0, 2, 3, 3], 0),
        (3, 4, [0, 0, 1, 2, 3], 0),
        (4, 5, [0, 0, 1, 1, 2], 0),
        (2, 5, [0, 0, 2, 2, 2], 0),
    ],
)
def test_what_is_left_out_is_a_run_of_its_own_and_all_keep_their_times(
    first: int, end: int, runs: list[int], present: int
) -> None:
    kept = Runs(listed(5))
    kept.leave_out(first, end)
    assert [segment.run for segment in kept.segments] == runs
    assert kept.present(0) == present
    assert kept.present(first) == end
    assert [kept.time(segment) for segment in kept.segments] == [2 * n * FLICKS for n in range(5)]
    assert [kept.index((2 * n + 1) * FLICKS) for n in range(5)] == list(range(5))


@pytest.mark.parametrize(
    ("gone", "before", "number", "end", "wanted"),
    [
        (None, 1, 2, 39, 39),  # a discontinuity: it follows what was played
        (3, 2, 4, 59, 80),  # a hole: it keeps its time
        (3, 2, 4, 81, 81),  # but is never before what was played
        (0, 0, 1, 10, 20),  # what broke off in its middle
    ],
)
def test_when_what_follows_a_seam_begins(gone: int | None, before: int, number: int, end: int, wanted: int) -> None:
    kept = Runs(listed(5))
    if gone is not None:
        kept.leave_out(gone, gone + 1)
    assert kept.join(before, number, end * FLICKS // 10)
    assert kept.base(kept.segments[number].run) == wanted * FLICKS // 10


class Bits:
    """An origin that counts what is asked of it, and gives it in pieces."""

    ranged = True

    def __init__(self, size: int, piece: int) -> None:
        self.size: int | None = size
        self.asked: list[tuple[int, int | None]] = []
        self.refuses = False
        self._piece = piece

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self.asked.append((start, end))
        if self.refuses:
            raise SourceError("no")
        last = (self.size or 0) if end is None else end
        while start < last:
            yield b""
            yield bytes(at % 251 for at in range(start, min(start + self._piece, last)))
            start += self._piece

    def close(self) -> None:
        """Nothing is held."""


def read(file: BlockFile, start: int, count: int) -> bytes:
    file.seek(start)
    data = b""
    while len(data) < count and (piece := file.read(count - len(data))):
        data += piece
    return data


@pytest.mark.parametrize("piece", [1, 7, 64, 100, 1000])
def test_blocks_of_a_file_are_right_wherever_it_is_read(piece: int) -> None:
    origin = Bits(1000, piece)
    file = BlockFile(origin, replace(Limits(), block=64, ahead=1, blocks=3))
    for start, count in [
        (0, 10),
        (990, 50),
        (300, 200),
        (40, 100),
        (500, 200),
        (64, 64),
        (0, 1000),
        (999, 1),
        (1000, 5),
    ]:
        assert read(file, start, count) == bytes(at % 251 for at in range(start, min(start + count, 1000)))
    file.close()


def test_two_places_far_apart_are_read_on_with_a_request_each() -> None:
    origin = Bits(100_000, 64)
    file = BlockFile(origin, replace(Limits(), block=64, ahead=1, blocks=8))
    for step in range(0, 3000, 50):
        for base in (0, 50_000):
            assert read(file, base + step, 50) == bytes(at % 251 for at in range(base + step, base + step + 50))
    assert set(origin.asked) == {(0, 64), (64, 100_000), (49_984, 50_048), (50_048, 100_000)}
    assert len(origin.asked) == 4
    file.close()


def test_who_may_not_ask_again_reads_on_through_what_is_held() -> None:
    origin = Bits(10_000, 64)
    file = BlockFile(origin, replace(Limits(), block=64, ahead=1, blocks=8))
    read(file, 0, 10)
    file.hold()
    origin.refuses = True
    assert read(file, 5000, 10) == bytes(at % 251 for at in range(5000, 5010))
    assert len(origin.asked) == 3
    assert read(file, 7000, 3000) == bytes(at % 251 for at in range(7000, 10_000))
    assert len(origin.asked) == 3
    with pytest.raises(SourceError, match="no"):
        read(file, 100, 10)
    file.close()
