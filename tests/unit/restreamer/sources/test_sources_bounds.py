"""What strangers write is read in a time that its length bounds, at the greatest length that is taken."""

from __future__ import annotations

import contextlib
import re

import pytest

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits
from services.restreamer.sources.playlist import LONGEST_LINE, parse_playlist
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

    from services.restreamer.sources import playlist  # noqa: PLC0415  to put the patterns' places

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
