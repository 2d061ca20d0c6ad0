"""What strangers write is read in a time that its length bounds, at the greatest length that is taken."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import cast

import pytest

from services.restreamer.model import FLICKS, Kind, Media, Packet, SourceError
from services.restreamer.playout.reading.measure import look_ahead
from services.restreamer.sources.access import Limits
from services.restreamer.sources.containers.entering import entered
from services.restreamer.sources.containers.key_pictures import is_key
from services.restreamer.sources.containers.timing import MOST_A_SECOND, MOST_BYTES, Timed, merged, timed
from services.restreamer.sources.containers.ts_watch import TsFinder
from services.restreamer.sources.containers.watch import MOST_DOUBTED, Watch
from services.restreamer.sources.flv.seek import MOST_CANDIDATES, MOST_TAGS, flv_from
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.picture_files import MOST_MARKERS, measure
from services.restreamer.sources.playlists.playlist import LONGEST_LINE, parse_playlist
from tests.support.steps import Visited, lines_of

MOST = Limits().playlist
SEGMENTS = Limits().segments
BEGIN = "#EXTM3U\n"


def filled(piece: str, size: int = MOST) -> str:
    return BEGIN + piece * ((size - len(BEGIN)) // len(piece))


HOSTILE = {
    "one line": filled("#EXT-X-KEY:" + "A" * (MOST - 100)),
    "one address": filled("a" * (MOST - 100)),
    "names alone": filled("#EXT-X-KEY:" + "A" * (LONGEST_LINE - 20) + "\n"),
    "names and blanks": filled("#EXT-X-KEY:" + "A " * (LONGEST_LINE // 2 - 20) + "\n"),
    "equal signs": filled("#EXT-X-MAP:" + "=" * (LONGEST_LINE - 20) + "\n"),
    "commas": filled("#EXT-X-KEY:" + ",".join(f"A{n}=" for n in range(2000)) + "\n"),
    "open quotes": filled("#EXT-X-KEY:" + 'A="' * (LONGEST_LINE // 3 - 20) + "\n"),
    "no lines": filled("\n"),
    "short lines": filled("#\n"),
    "short tags": filled("#EXT\n"),
    "segments": filled("#EXTINF:1,\na\n"),
    "byte ranges": filled("#EXTINF:1,\n#EXT-X-BYTERANGE:1\n" + "a" * 100 + "\n"),
    "questions": filled("#EXTINF:1,\n" + "?#" * (LONGEST_LINE // 2 - 20) + "\n"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_playlist_of_the_greatest_size_is_looked_through_a_few_times_at_most(what: str) -> None:
    text = Visited.of(HOSTILE[what])
    with contextlib.suppress(SourceError):
        parse_playlist(text, SEGMENTS)
    assert text.seen[0] < 12 * MOST


@pytest.mark.parametrize("what", ["commas", "short tags", "byte ranges"])
def test_a_playlist_of_the_greatest_size_takes_a_bounded_number_of_steps(what: str) -> None:
    def parse() -> None:
        with contextlib.suppress(SourceError):
            parse_playlist(HOSTILE[what], SEGMENTS)

    assert lines_of(parse) < 250 * SEGMENTS


def test_no_pattern_is_laid_on_more_than_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched:
        def __init__(self, pattern: re.Pattern[str]) -> None:
            self.pattern = pattern

        def fullmatch(self, text: str) -> re.Match[str] | None:
            asked.append(len(text))
            return self.pattern.fullmatch(text)

    from services.restreamer.sources.playlists import playlist  # noqa: PLC0415  to put the patterns' places

    for name in ("_NUMBER", "_BYTES"):
        monkeypatch.setattr(playlist, name, Watched(getattr(playlist, name)))
    for tag in ("#EXTINF:", "#EXT-X-BYTERANGE:"):
        with contextlib.suppress(SourceError):
            parse_playlist(BEGIN + tag + "1" * (LONGEST_LINE - 20) + "\na\n", SEGMENTS)
    assert asked
    assert max(asked) <= LONGEST_LINE


def test_a_line_that_is_too_long_is_named_and_a_comment_is_none() -> None:
    with pytest.raises(SourceError, match=f"a line of more than {LONGEST_LINE}"):
        parse_playlist(BEGIN + "#EXTINF:2,\n" + "a" * (LONGEST_LINE + 1) + "\n", 10)
    text = BEGIN + "#" + "c" * (1 << 16) + "\n#EXT-X-DATERANGE:" + "c" * (1 << 16) + "\n#EXTINF:2,\na.ts\n"
    assert len(parse_playlist(text, 10)) == 1


class Pieces:
    """A file that comes in pieces, and repeats itself for ever."""

    def __init__(self, data: bytes, piece: int) -> None:
        self.data, self.piece, self.at = data * (2 + piece // len(data)), piece, 0

    def read(self, size: int) -> bytes:
        at = self.at % (len(self.data) // 2)
        self.at += min(size, self.piece)
        return self.data[at : at + min(size, self.piece)]

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset if whence == 0 else (1 << 40) + offset
        return self.at

    def head(self) -> bytes:
        return self.data[:4096]

    def close(self) -> None:
        pass


PACKETS = {
    "marks without end": b"\x47\x40\x00" * 188,
    "tables alone": (b"\x47\x40\x00\x10\x00" + bytes(183)) * 100,
    "beginnings alone": (b"\x47\x40\x01\x10" + bytes(184)) * 100,
    "nothing": (b"\x47" + bytes(187)) * 100,
}


@pytest.mark.parametrize("what", PACKETS)
@pytest.mark.parametrize("piece", [1 << 16, 100])
def test_each_packet_of_a_stream_is_looked_at_a_few_times_at_most(what: str, piece: int) -> None:
    head = (b"\x47" + bytes(187)) * 30
    finder, data = TsFinder(head), PACKETS[what] * 40
    reads = range(0, len(data), piece)

    def look() -> None:
        tail, base = b"", 0
        for at in reads:
            tail += data[at : at + piece]
            wanted = finder.look(tail, base)
            tail, base = tail[wanted - base :], wanted

    assert lines_of(look) < 80 * len(data) // 188 + 80 * len(reads)


def test_what_is_in_doubt_is_not_copied_for_each_byte_that_comes() -> None:
    """At the greatest length that is doubted; what is handed on is the one buffer that grows."""
    seen: list[object] = []

    class Doubting:
        doubt: int | None = 0
        changed = ""

        def look(self, data: bytes | bytearray, base: int) -> int:
            seen.append(data)
            if base + len(data) > MOST_DOUBTED:
                self.doubt = None
                return base + len(data)
            return 0

        def head(self) -> bytes:
            return b""

        def skip(self, to: int) -> None:
            pass

    watch = Watch(Pieces(bytes(997), 499), Doubting())
    steps = lines_of(lambda: watch.read(1 << 16))
    assert len({id(data) for data in seen}) == 1
    assert isinstance(seen[0], bytearray)
    assert steps < 60 * MOST_DOUBTED / 499


FLVS = {
    "zeros": bytes(1 << 12),
    "tags in tags": b"\x08\x00\x00\x01" + bytes(8),
    "script data": b"\x12\x00\x00\x01" + bytes(7) + b"\x02" + (12).to_bytes(4, "big"),
}


@pytest.mark.parametrize("what", FLVS)
def test_a_time_in_an_flv_is_looked_for_in_a_bounded_number_of_places(what: str) -> None:
    file = Pieces(b"FLV\x01\x05" + (9).to_bytes(4, "big") + bytes(4) + FLVS[what] * 1000, 1 << 16)
    assert lines_of(lambda: flv_from(file, 10 * FLICKS)) < 40 * (MOST_CANDIDATES * 45 + MOST_TAGS)
    config = b"\x09" + (1 << 23).to_bytes(3, "big") + bytes(7) + b"\x17\0"
    assert flv_from(Pieces(b"FLV\x01\x05" + (9).to_bytes(4, "big") + bytes(4) + config + bytes(99), 1), 0) is None


def test_a_picture_of_fill_bytes_and_markers_is_walked_through_once() -> None:
    most = Limits().picture
    for filling in (b"\xff", b"\xff\xe0\0\2", b"\xff\xda\0\2\xff\0", b"\xff\xfe", b"\0"):
        data = (b"\xff\xd8\xff" + filling * most)[:most]

        def look(data: bytes = data) -> None:
            with contextlib.suppress(SourceError):
                measure(data)

        assert lines_of(look) < 12 * MOST_MARKERS


def nal(kind: int, body: bytes) -> bytes:
    return (1 + len(body)).to_bytes(4, "big") + bytes((kind,)) + body


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (nal(9, b"") * 200_000, None),
        (nal(6, b"\xff" * (1 << 20)), None),
        (nal(6, b"\0\0" * (1 << 19)), None),
        (nal(6, b"\0\0\x80") * 100_000, None),
        (nal(9, b"\xf0") + nal(7, bytes(300)) + nal(8, bytes(9)) * 8 + nal(6, b"\5\xff\x20" + b"x" * 287), True),
    ],
)
def test_a_picture_of_much_that_is_none_is_left_to_ffmpeg(before: bytes, told: bool | None) -> None:
    data = before + nal(5, b"\x88")
    found: list[bool | None] = []
    assert lines_of(lambda: found.append(is_key(data, 0, len(data)))) < 100_000
    assert found == [told]


def test_sound_that_lies_far_ahead_is_not_looked_through_at_every_keyframe() -> None:
    def flow() -> Iterator[Timed]:
        for at in range(20_000):
            yield Packet("video", at, at, 1, True, b"v"), None
            yield Packet("audio", at, 1 << 40, 1, True, b"a"), None

    assert lines_of(lambda: list(entered(flow(), 1 << 30, video=True))) < 40 * 40_000


@pytest.mark.parametrize("step", [0, FLICKS // 2 // MOST_A_SECOND, -FLICKS])
@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_file_whose_time_stands_still_ends(kind: Kind, step: int) -> None:
    """All of its frames would be due at once."""
    taken = itertools.count()
    raws = (Raw(kind, next(taken) * step, 0, 0, False, b"x", None) for _ in itertools.count())
    with pytest.raises(SourceError, match="frames in a second"):
        for _ in timed(raws, {}):
            pass
    assert next(taken) < 2 * MOST_A_SECOND + 10


def test_many_frames_in_a_second_are_played() -> None:
    count, step = 10 * MOST_A_SECOND, FLICKS // MOST_A_SECOND + 1
    raws = (Raw("video", n * step - FLICKS, n * step, 0, False, b"x", None) for n in range(count))
    assert sum(1 for _ in timed(raws, {})) == count


def test_frames_of_nothing_that_wait_for_the_other_kind_are_bounded() -> None:
    taken = itertools.count()
    pairs = ((Packet("video", n, n, 1, False, b""), None) for n in taken)
    next(merged(pairs, 2))
    assert next(taken) < MOST_BYTES >> 8


def test_sound_of_nothing_that_comes_before_pictures_is_bounded() -> None:
    class Sounding:
        video = audio = None

    taken = itertools.count()
    packets = (Packet("audio", n * FLICKS, n * FLICKS, 1, True, b"x") for n in taken)
    look_ahead(cast("Media", Sounding()), packets)
    assert next(taken) < MOST_BYTES >> 8
