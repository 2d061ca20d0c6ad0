"""Reads HLS playlists strictly and checks them against RFC 8216: each alone, and a reload against the one before."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

ONCE = {f"#EXT-X-{name}" for name in (
    "VERSION", "TARGETDURATION", "MEDIA-SEQUENCE", "PLAYLIST-TYPE", "DISCONTINUITY-SEQUENCE", "ENDLIST",
    "INDEPENDENT-SEGMENTS", "START",
)}  # fmt: skip
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')


@dataclass(frozen=True)
class Part:
    """A media segment as listed in a playlist; `date_ms` where it has its own date."""

    uri: str
    micros: int
    number: int
    seams: int
    init: str
    date_ms: int | None
    seam: bool


@dataclass
class Playlist:
    version: int = 0
    target_s: int = 0
    number: int = 0
    seams: int = 0
    kind: str = ""
    ended: bool = False
    from_start: bool = False
    independent: bool = False
    parts: list[Part] = field(default_factory=list)

    @property
    def dates_ms(self) -> list[int]:
        """Return every segment's date; where it has none of its own, by the durations before it (4.3.2.6)."""
        dates: list[int] = []
        exact = 0
        for part in self.parts:
            exact = part.date_ms * 1000 if part.date_ms is not None else exact
            dates.append(exact // 1000)
            exact += part.micros
        return dates


def attributes(text: str) -> dict[str, str]:
    found = {}
    at = 0
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        assert match, f"bad attribute list: {text!r}"
        assert match[1] not in found, f"attribute twice: {text!r}"
        found[match[1]] = match[2].strip('"')
        at = match.end()
    return found


def _lines(text: str) -> list[str]:
    assert text.endswith("\n")
    assert "\r" not in text
    lines = text.splitlines()
    assert lines[0] == "#EXTM3U", "4.3.1.1: must be the first line"
    assert all(lines), "blank lines are not written"
    return lines


def read_media(text: str) -> Playlist:  # noqa: C901, PLR0912  one branch per tag
    """Read a media playlist and check it against the RFC; AssertionError names the section."""
    playlist = Playlist()
    seen: set[str] = set()
    pending: dict[str, object] = {}
    init, seams = "", None
    for line in _lines(text)[1:]:
        name, _, value = line.partition(":")
        if name in ONCE:
            assert name not in seen, f"{name} twice"
            seen.add(name)
        if name == "#EXT-X-VERSION":
            playlist.version = int(value)
        elif name == "#EXT-X-TARGETDURATION":
            playlist.target_s = int(value)
        elif name in {"#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE"}:
            assert not playlist.parts, f"4.3.3.2, 4.3.3.3: {name} must come before the first segment"
            assert seams is None, "4.3.3.3: must come before any EXT-X-DISCONTINUITY"
            if name == "#EXT-X-MEDIA-SEQUENCE":
                playlist.number = int(value)
            else:
                playlist.seams = int(value)
        elif name == "#EXT-X-PLAYLIST-TYPE":
            assert value in {"EVENT", "VOD"}
            playlist.kind = value
        elif name == "#EXT-X-INDEPENDENT-SEGMENTS":
            playlist.independent = True
        elif name == "#EXT-X-START":
            playlist.from_start = True
        elif name == "#EXT-X-ENDLIST":
            playlist.ended = True
        elif name == "#EXT-X-DISCONTINUITY":
            assert "seam" not in pending, "two discontinuities at once"
            pending["seam"] = True
            seams = (playlist.seams if seams is None else seams) + 1
        elif name == "#EXT-X-MAP":
            init = attributes(value)["URI"]
        elif name == "#EXT-X-PROGRAM-DATE-TIME":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value), value
            moment = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
            pending["date"] = round(moment.timestamp() * 1000)
        elif name == "#EXTINF":
            assert re.fullmatch(r"\d+\.\d{6},", value), value
            pending["micros"] = int(value[:-1].replace(".", ""))
        else:
            assert not line.startswith("#"), f"unknown tag {line}"
            assert "micros" in pending, "4.3.2.1: EXTINF is required for each segment"
            playlist.parts.append(Part(
                line, int(str(pending["micros"])), playlist.number + len(playlist.parts),
                playlist.seams if seams is None else seams, init,
                int(str(pending["date"])) if "date" in pending else None, "seam" in pending,
            ))  # fmt: skip
            pending = {}
    assert not pending, "tags without a segment"
    _check(playlist)
    return playlist


def _check(playlist: Playlist) -> None:
    assert playlist.version >= 6, "7: EXT-X-MAP in a playlist without I-frames only needs version 6"
    assert playlist.target_s > 0, "4.3.3.1: required"
    for part in playlist.parts:
        assert part.init, "3: a fragmented MP4 segment needs an EXT-X-MAP"
        assert (part.micros + 500_000) // 1_000_000 <= playlist.target_s, "4.3.3.1: EXTINF rounded <= target duration"
        assert not re.match(r"[a-z]+:|/", part.uri), "URIs are relative, so that a token covers the tree"
    uris = [part.uri for part in playlist.parts]
    assert len(set(uris)) == len(uris), "a segment twice"
    if playlist.parts:
        assert playlist.parts[0].date_ms is not None, "the first segment tells the date"
        assert not playlist.parts[0].seam, "no discontinuity before the first segment"
    for before, after in zip(playlist.parts, playlist.parts[1:], strict=False):
        if before.init != after.init:
            assert after.seam, "4.3.2.3: another encoding needs a discontinuity"
        if after.seam:
            assert after.date_ms is not None, "a date after each discontinuity"
    if playlist.kind == "VOD":
        assert playlist.ended, "a VOD playlist does not grow"


def check_reload(before: Playlist, after: Playlist) -> None:
    """Check a reload against 6.2.1 and 6.2.2: segments leave at the start and come at the end, nothing else changes."""
    assert after.number >= before.number, "4.3.3.2: media sequence went back"
    assert after.seams >= before.seams
    assert before.kind == after.kind, "6.2.1: the type must not change"
    assert not before.ended or after == before, "a playlist with ENDLIST does not change"
    if before.kind:
        assert after.number == before.number, "4.3.3.5: nothing leaves an EVENT playlist"
    assert after.target_s >= before.target_s
    old = {part.number: part for part in before.parts}
    for part in after.parts:
        if part.number in old:
            was = old[part.number]
            assert (was.uri, was.micros, was.seams, was.init) == (part.uri, part.micros, part.seams, part.init), (
                f"segment {part.number} is another one now"
            )
    if before.parts and after.parts:
        assert after.parts[-1].number >= before.parts[-1].number, "segments left at the end"


def read_multivariant(text: str) -> list[tuple[dict[str, str], str]]:
    """Read a multivariant playlist: attributes and URI of each variant."""
    variants = []
    groups: set[str] = set()
    lines = iter(_lines(text)[1:])
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF:"):
            found = attributes(line.split(":", 1)[1])
            assert int(found["BANDWIDTH"]) >= int(found["AVERAGE-BANDWIDTH"]) > 0
            variants.append((found, next(lines)))
        elif line.startswith("#EXT-X-MEDIA:"):
            found = attributes(line.split(":", 1)[1])
            assert (found["TYPE"], found["INSTREAM-ID"]) == ("CLOSED-CAPTIONS", "CC1")
            groups.add(found["GROUP-ID"])
        else:
            assert line.startswith("#EXT-X-VERSION:"), line
    assert variants
    assert {found["CLOSED-CAPTIONS"] for found, _ in variants if "CLOSED-CAPTIONS" in found} == groups
    return variants
