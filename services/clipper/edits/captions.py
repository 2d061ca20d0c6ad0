"""Caption files, WebVTT or SRT: what is said when. Pure.

Sources: WebVTT (W3C, 4.1 and 4.2.2); SRT as players read it: the same blocks, with a number and commas. Where a cue
says itself where it stands and how it looks, that is ignored: captions stand at the bottom, whatever is cut out.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from typing import Final

from shared.errors import Rejected

MOST_CUES: Final = 20_000
MOST_LINES: Final = 8  # of cues that overlap
LONGEST_LINE: Final = 300
_TIME: Final = r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMES: Final = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_MARKUP: Final = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")


@dataclass(frozen=True, slots=True)
class Captions:
    """What is on show from each of `starts` (s, ascending) on; "" for nothing."""

    starts: tuple[Fraction, ...]
    texts: tuple[str, ...]

    def at(self, moment: Fraction) -> str:
        """Return what is on show at a moment, lines apart."""
        number = bisect_right(self.starts, moment) - 1
        return self.texts[number] if number >= 0 else ""


def read_captions(data: bytes) -> Captions:
    """Read a file; Rejected when it has no captions, or too many."""
    cues = list(_cues(_text(data)))
    if not cues:
        raise Rejected("the captions are neither WebVTT nor SRT: no cue was found")
    cues.sort(key=lambda cue: cue[0])
    ends = sorted(range(len(cues)), key=lambda number: cues[number][1])
    moments = sorted({moment for start, end, _ in cues for moment in (start, end)})
    shown: dict[int, str] = {}
    texts: list[str] = []
    begun = ended = 0
    for moment in moments:
        while begun < len(cues) and cues[begun][0] <= moment:
            shown[begun] = cues[begun][2]
            begun += 1
        while ended < len(ends) and cues[ends[ended]][1] <= moment:
            shown.pop(ends[ended], None)
            ended += 1
        texts.append("\n".join(islice(shown.values(), MOST_LINES)))
    return Captions(tuple(moments), tuple(texts))


def _cues(text: str) -> Iterator[tuple[Fraction, Fraction, str]]:
    """Yield start, end and text of each cue that is shown at all."""
    count = 0
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.split("\n")
        for number, (before, line) in enumerate(pairwise(["", *lines])):
            found = _TIMES.fullmatch(line) if "-->" in line else None
            if found is None or before.startswith(("NOTE", "STYLE", "REGION")):
                continue
            start, end = _seconds(found.groups()[:4]), _seconds(found.groups()[4:])
            said = _plain(lines[number + 1 :])
            if said and start < end:
                count += 1
                if count > MOST_CUES:
                    raise Rejected(f"the captions have more than {MOST_CUES} cues")
                yield start, end, said
            break


def _plain(lines: list[str]) -> str:
    shown = (html.unescape(_MARKUP.sub("", line)).strip()[:LONGEST_LINE] for line in lines)
    return "\n".join("".join(c for c in line if c.isprintable()) for line in shown if line).strip()


def _seconds(parts: tuple[str | None, ...]) -> Fraction:
    hours, minutes, seconds, rest = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + Fraction(int((rest or "0").ljust(3, "0")), 1000)


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # what older programs write
    return text.replace("\r\n", "\n").replace("\r", "\n")
