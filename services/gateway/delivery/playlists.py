"""Writes HLS playlists (RFC 8216) from index entries: pure text.

A media playlist's URIs are relative to `<tree>/<event>/`, the path of the playlists themselves. Segments are objects of
the store, whose keys start with `live/<event>/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from services.gateway.delivery.index.entries import IndexEntry
from shared.media.timeline import joins
from shared.media.tracks import TrackConfig
from shared.runtime.clock import rfc3339

VERSION: Final = 6  # EXT-X-MAP without I-frames only (RFC 8216, 7)


@dataclass(frozen=True, slots=True)
class Header:
    """The values of a media playlist's header."""

    target_s: int
    number: int
    seams: int
    kind: Literal["EVENT", "VOD"] | None = None
    independent: bool = True


@dataclass(frozen=True, slots=True)
class Variant:
    """A rendition as the multivariant playlist lists it; rates in bit/s. `group` is that of its sounds, if apart."""

    uri: str
    bandwidth: int
    average: int
    codecs: str
    width: int = 0
    height: int = 0
    range: str = ""
    captions: bool = False
    group: str = ""
    tracks: tuple[TrackConfig, ...] = ()


def target_duration(longest_ms: int) -> int:
    """Return EXT-X-TARGETDURATION: the longest segment's duration, rounded to whole seconds (4.3.3.1)."""
    return max((longest_ms + 500) // 1000, 1)


def head(header: Header) -> str:
    """Return the lines above the segments."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", f"#EXT-X-TARGETDURATION:{header.target_s}"]
    lines.append(f"#EXT-X-MEDIA-SEQUENCE:{header.number}")
    if header.seams:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{header.seams}")
    if header.kind:
        lines.append(f"#EXT-X-PLAYLIST-TYPE:{header.kind}")
    if header.independent:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    return "\n".join(lines) + "\n"


def start_at(offset: Fraction) -> str:
    """Return the line that starts players at an offset from the first segment's start, in s, and not at the end."""
    return f"#EXT-X-START:TIME-OFFSET={float(round(offset, 6))},PRECISE=YES\n"


def body(entries: Iterable[IndexEntry], before: IndexEntry | None = None, only: Mapping[str, int] | None = None) -> str:
    """Return the lines of segments that follow `before` (None: the first of their playlist).

    `only`: by init key, the one track that is to be played of its segments.
    """
    lines: list[str] = []
    chosen = only or {}
    expected_ms = 0  # wall clock, ms times 1000
    for entry in entries:
        asked = f"?only={chosen[entry.init_key]}" if entry.init_key in chosen else ""
        seam = before is not None and not joins(before, entry)
        if seam:
            lines.append("#EXT-X-DISCONTINUITY")
        if before is None or before.init_key != entry.init_key:
            lines.append(f'#EXT-X-MAP:URI="{uri(entry.init_key)}{asked}"')
        # One date per run is enough (4.3.2.6) while the segments' durations add up to the others.
        if before is None or seam or not expected_ms or abs(entry.wall_start_ms * 1000 - expected_ms) > 1000:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(entry.wall_start_ms)}")
            expected_ms = entry.wall_start_ms * 1000
        micros = (entry.duration * 2_000_000 // entry.timescale + 1) // 2
        expected_ms += micros
        lines.append(f"#EXTINF:{micros // 1_000_000}.{micros % 1_000_000:06},")
        lines.append(uri(entry.key) + asked)
        before = entry
    return "\n".join(lines) + "\n" if lines else ""


END: Final = "#EXT-X-ENDLIST\n"


def uri(key: str) -> str:
    """Return a store key relative to the event's tree."""
    return key.split("/", 2)[2]


CAPTIONS: Final = "captions"
"""The group of the captions inside the pictures."""


def multivariant(variants: Sequence[Variant]) -> str:
    """Return the multivariant playlist of renditions, which come best first."""
    return variant_lines(variants, ())


def variant_lines(variants: Sequence[Variant], media: Iterable[str]) -> str:
    """Return the multivariant playlist of variants, and of the lines of their sounds."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", *media]
    if any(variant.captions for variant in variants):
        group = f'TYPE=CLOSED-CAPTIONS,GROUP-ID="{CAPTIONS}",NAME="CC1",INSTREAM-ID="CC1"'
        lines.append(f"#EXT-X-MEDIA:{group},DEFAULT=YES,AUTOSELECT=YES")
    for variant in variants:
        fields = [f"BANDWIDTH={variant.bandwidth}", f"AVERAGE-BANDWIDTH={variant.average}"]
        if variant.codecs:
            fields.append(f'CODECS="{variant.codecs}"')
        if variant.width and variant.height:
            fields.append(f"RESOLUTION={variant.width}x{variant.height}")
        if variant.range:
            fields.append(f"VIDEO-RANGE={variant.range}")
        if variant.captions:
            fields.append(f'CLOSED-CAPTIONS="{CAPTIONS}"')
        if variant.group:
            fields.append(f'AUDIO="{variant.group}"')
        lines += [f"#EXT-X-STREAM-INF:{','.join(fields)}", variant.uri]
    return "\n".join(lines) + "\n"


def rates(entries: Sequence[IndexEntry]) -> tuple[int, int]:
    """Return the peak and average rate of segments in bit/s (4.3.4.2); a cut-off one does not count as a peak."""
    total_ms = sum(entry.duration_ms for entry in entries)
    total = sum(entry.bytes for entry in entries)
    average = total * 8000 // total_ms if total_ms else 0
    longest = max((entry.duration_ms for entry in entries), default=0)
    whole = [entry for entry in entries if entry.duration_ms * 2 >= longest and entry.duration_ms]
    peak = max((entry.bytes * 8000 // entry.duration_ms for entry in whole), default=0)
    return max(peak, average, 1), max(average, 1)
