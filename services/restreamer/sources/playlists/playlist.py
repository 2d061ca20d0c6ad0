"""Parse m3u8 media playlists (RFC 8216, and parts of 8216bis). Unsupported features are refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from services.restreamer.model import FLICKS, SourceError

LONGEST_SEGMENT: Final = 3600
LONGEST: Final = 31 * 86_400
NESTED: Final = "the playlist refers to other playlists; give the URL of one of these"
LONGEST_LINE: Final = 16_384
MOST_ATTRIBUTES: Final = 32
LINES_A_SEGMENT: Final = 8  # non-empty lines, on average, in the largest playlist
_LINE: Final = re.compile(r"[^\r\n]+")
_NUMBER: Final = re.compile(r"\d{1,6}(\.\d{1,12})?")
_BYTES: Final = re.compile(r"(\d{1,15})(?:@(\d{1,15}))?")
_MASTER: Final = frozenset({"#EXT-X-STREAM-INF", "#EXT-X-I-FRAME-STREAM-INF", "#EXT-X-MEDIA", "#EXT-X-SESSION-KEY"})
_READ: Final = frozenset(
    {"#EXTINF", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-BYTERANGE", "#EXT-X-MAP", "#EXT-X-KEY", "#EXT-X-PROGRAM-DATE-TIME"}
)


@dataclass(frozen=True, slots=True)
class Bytes:
    """A file, or `length` bytes of it from offset `start` on."""

    uri: str
    start: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """An AES-128 key; without an `iv` the segment's sequence number is the IV."""

    uri: str
    iv: bytes | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment. `start` in flicks from the list's start; `run` counts the discontinuities before it.

    `first` is its init segment (EXT-X-MAP), and `first_key` the key before that tag. `wall_ms` is set when the segment
    has a date, or starts a run after one.
    """

    bytes: Bytes
    start: int
    duration: int
    sequence: int
    run: int
    first: Bytes | None = None
    key: Key | None = None
    wall_ms: int | None = None
    first_key: Key | None = None


@dataclass(slots=True)
class _State:
    """The state of parsing, for the next segment."""

    number: int = 0
    at: Fraction = Fraction(0)
    duration: Fraction | None = None
    run: int = 0
    first: Bytes | None = None
    first_key: Key | None = None
    key: Key | None = None
    date: tuple[int, Fraction] | None = None  # the last date (ms), and its time in the list
    dated: int | None = None  # the run that already uses it
    bytes: tuple[int, int | None] | None = None
    gap: bool = False
    reached: dict[str, int] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)


def parse_playlist(text: str, most: int) -> tuple[Segment, ...]:
    """Return the segments of a media playlist, at most `most`. Raise SourceError for a master or unsupported playlist.

    A playlist without EXT-X-ENDLIST counts as complete.
    """
    state = _State()
    lines = _lines(text.removeprefix("\ufeff"), (most + 1) * LINES_A_SEGMENT)
    if next(lines, "") != "#EXTM3U":
        raise SourceError("the playlist does not begin with #EXTM3U")
    for line in lines:
        if line.startswith("#EXT"):
            _tag(state, *line.partition(":")[::2])
        elif line and not line.startswith("#"):
            _segment(state, line)
        if len(state.segments) > most:
            raise SourceError(f"the playlist has more than {most} segments")
    if not state.segments:
        raise SourceError("the playlist has no segments")
    return tuple(state.segments)


def _lines(text: str, most: int) -> Iterator[str]:
    """Yield the non-empty lines, stripped. Lines are limited in length, which limits the time that parsing takes.

    A comment or an ignored tag may have any length, and is cut.
    """
    for number, found in enumerate(_LINE.finditer(text)):
        if number > most:
            raise SourceError(f"the playlist has more than {most} lines")
        begin, end = found.span()
        line = text[begin : min(end, begin + LONGEST_LINE)]
        if end - begin > LONGEST_LINE and (not line.startswith("#") or line.partition(":")[0] in _READ):
            raise SourceError(f"the playlist has a line of more than {LONGEST_LINE} characters")
        yield line.strip()


def _tag(state: _State, name: str, value: str) -> None:
    if name in _MASTER:
        raise SourceError(NESTED)
    if name == "#EXTINF":
        state.duration = _seconds(value.split(",", 1)[0].strip())
    elif name == "#EXT-X-DISCONTINUITY":
        state.run += 1
    elif name == "#EXT-X-GAP":
        state.gap = True
    elif name == "#EXT-X-DEFINE":
        raise SourceError("the playlist uses variables (EXT-X-DEFINE), which are not served")
    else:
        _valued(state, name, value)


def _valued(state: _State, name: str, value: str) -> None:
    if name == "#EXT-X-MEDIA-SEQUENCE" and value.isdecimal():
        state.number = int(value[:18])
    elif name == "#EXT-X-BYTERANGE":
        state.bytes = _range(value)
    elif name == "#EXT-X-MAP":
        _map(state, value)
    elif name == "#EXT-X-KEY":
        state.key = _key(_attributes(value))
    elif name == "#EXT-X-PROGRAM-DATE-TIME":
        wall_ms = _wall(value)
        state.date, state.dated = None if wall_ms is None else (wall_ms, state.at), None


def _segment(state: _State, uri: str) -> None:
    if uri.partition("?")[0].partition("#")[0].lower().endswith((".m3u8", ".m3u")):
        raise SourceError(NESTED)
    if state.duration is None:
        raise SourceError("the playlist has a segment without a duration (EXTINF)")
    byte_range = Bytes(uri)
    if state.bytes is not None:
        length, start = state.bytes
        start = state.reached.get(uri, 0) if start is None else start
        byte_range = Bytes(uri, start, length)
        state.reached[uri] = start + length
    if not state.gap:
        state.segments.append(Segment(
            byte_range, round(state.at * FLICKS), round(state.duration * FLICKS), state.number, state.run,
            state.first, state.key, _date(state), state.first_key))  # fmt: skip
    else:
        state.run += 1
    state.at += state.duration
    if state.at > LONGEST:
        raise SourceError(f"the playlist is longer than {LONGEST // 86_400} days")
    state.number += 1
    state.duration, state.bytes, state.gap = None, None, False


def _date(state: _State) -> int | None:
    """Return the wall clock of a segment that has a date, or starts a run; that of others follows from these."""
    if state.date is None or state.dated == state.run:
        return None
    state.dated = state.run
    wall_ms, at = state.date
    return wall_ms + round((state.at - at) * 1000)


def _map(state: _State, value: str) -> None:
    found = _attributes(value)
    if "URI" not in found:
        raise SourceError("the playlist has an EXT-X-MAP without a URI")
    byte_range = Bytes(found["URI"])
    if "BYTERANGE" in found:
        length, start = _range(found["BYTERANGE"])
        byte_range = Bytes(found["URI"], start or 0, length)
    if state.first is not None and state.first != byte_range and state.segments:
        state.run += 1
    state.first, state.first_key = byte_range, state.key


def _key(found: dict[str, str]) -> Key | None:
    method = found.get("METHOD", "NONE")
    if method == "NONE":
        return None
    if method != "AES-128" or "URI" not in found or found.get("KEYFORMAT", "identity") != "identity":
        raise SourceError(f"the playlist's segments are encrypted in a way that is not served ({method[:32]})")
    if "IV" not in found:
        return Key(found["URI"], None)
    try:
        return Key(found["URI"], int(found["IV"], 16).to_bytes(16, "big"))
    except (ValueError, OverflowError) as error:
        raise SourceError("the playlist has a broken IV") from error


def _attributes(value: str) -> dict[str, str]:
    """Return an attribute list (4.2), parsed in one pass; parsing ends at the first invalid part."""
    found: dict[str, str] = {}
    at = 0
    while len(found) < MOST_ATTRIBUTES and (equals := value.find("=", at)) >= 0:
        name = value[at:equals].strip()
        begin = equals + 1
        if value.startswith('"', begin):
            close = value.find('"', begin + 1)
            if close < 0:
                break
            text, end = value[begin + 1 : close], value.find(",", close)
        else:
            end = value.find(",", begin)
            text = value[begin : end if end >= 0 else len(value)]
        found[name] = text
        if end < 0:
            break
        at = end + 1
    return found


def _seconds(text: str) -> Fraction:
    if not _NUMBER.fullmatch(text) or Fraction(text) > LONGEST_SEGMENT:
        raise SourceError("the playlist has a segment whose duration (EXTINF) makes no sense")
    return Fraction(text)


def _range(text: str) -> tuple[int, int | None]:
    found = _BYTES.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise SourceError("the playlist has a byte range that makes no sense")
    return int(found[1]), None if found[2] is None else int(found[2])


def _wall(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return round(Fraction(since // timedelta(microseconds=1), 1000))
