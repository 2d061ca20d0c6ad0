"""Writes MPDs (ISO/IEC 23009-1) over the segments that HLS plays, too: one rendition, sound and pictures in one.

A finished range is static: a Period for each run of segments, one after the other, so gaps are closed. Live is dynamic,
with the latest run alone, on the stream's own time line: what slides out changes nothing that stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final
from xml.sax.saxutils import quoteattr

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.playlists import Variant, uri
from shared.media.timeline import joins
from shared.runtime.clock import rfc3339

TYPE: Final = "application/dash+xml"
UPDATE_S: Final = 2
DELAYS: Final = 3
"""How many of the longest segments players should stay behind the edge."""
_SPACE: Final = "urn:mpeg:dash:schema:mpd:2011"
_PROFILE: Final = "urn:mpeg:dash:profile:isoff-live:2011"


@dataclass(frozen=True, slots=True)
class Live:
    """When it is, and when the stream began, in ms since the epoch."""

    now_ms: int
    begun_ms: int


def static_mpd(entries: Sequence[IndexEntry], variant: Variant, query: str) -> str:
    """Return the MPD of a finished range; `query` is added to each address."""
    at = Fraction(0)
    periods: list[str] = []
    for number, run in enumerate(runs(entries)):
        length = sum((Fraction(entry.duration, entry.timescale) for entry in run), Fraction(0))
        timing = f"start={_time(at)} duration={_time(length)}"
        periods.append(_period(f"p{number}", timing, run, run[0].start, variant, query))
        at += length
    head = f'type="static" mediaPresentationDuration={_time(at)}'
    return _mpd(head, entries, periods)


def live_mpd(entries: Sequence[IndexEntry], variant: Variant, query: str, live: Live) -> str:
    """Return the MPD of the live edge."""
    run = list(runs(entries))[-1]
    first = run[0]
    start = Fraction(first.origin_ms, 1000) - Fraction(first.lead, first.timescale)
    ident = f"{first.session}-{first.init_key.rpartition('-')[2].partition('.')[0]}"
    depth = sum((Fraction(entry.duration, entry.timescale) for entry in run), Fraction(0))
    longest = max(Fraction(entry.duration, entry.timescale) for entry in run)
    head = (
        f'type="dynamic" availabilityStartTime="{rfc3339(live.begun_ms)}" publishTime="{rfc3339(live.now_ms)}" '
        f'minimumUpdatePeriod="PT{UPDATE_S}S" timeShiftBufferDepth={_time(depth)} '
        f"suggestedPresentationDelay={_time(DELAYS * longest)}"
    )
    clock = f'<UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="{rfc3339(live.now_ms)}"/>'
    return _mpd(head, run, [_period(ident, f"start={_time(start)}", run, 0, variant, query), clock])


def runs(entries: Sequence[IndexEntry]) -> Iterator[list[IndexEntry]]:
    """Yield segments in groups that follow each other without a seam, under names that are numbers in sequence."""
    run: list[IndexEntry] = []
    for entry in entries:
        if run and not (joins(run[-1], entry) and _is_numbered(entry) and _is_numbered(run[-1])):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _is_numbered(entry: IndexEntry) -> bool:
    return entry.key.endswith(f"/{entry.sequence:08}.m4s")


def _mpd(head: str, entries: Sequence[IndexEntry], parts: Sequence[str]) -> str:
    longest = max(Fraction(entry.duration, entry.timescale) for entry in entries)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<MPD xmlns="{_SPACE}" profiles="{_PROFILE}" {head} '
        f"minBufferTime={_time(2 * longest)} maxSegmentDuration={_time(longest)}>\n" + "\n".join(parts) + "\n</MPD>\n"
    )


def _period(ident: str, timing: str, run: Sequence[IndexEntry], offset: int, variant: Variant, query: str) -> str:
    first = run[0]
    suffix = f"?{query}" if query else ""
    folder = uri(first.key).rpartition("/")[0]
    media = f"{folder}/$Number%08d$.m4s" if _is_numbered(first) else uri(first.key)
    size = f' width="{variant.width}" height="{variant.height}"' if variant.width else ""
    codecs = f" codecs={quoteattr(variant.codecs)}" if variant.codecs else ""
    return (
        f'<Period id="{ident}" {timing}><AdaptationSet contentType="video" mimeType="video/mp4" '
        f'segmentAlignment="true" startWithSAP="1">'
        f'<Representation id="{first.track}" bandwidth="{variant.bandwidth}"{codecs}{size}>'
        f'<SegmentTemplate timescale="{first.timescale}" presentationTimeOffset="{offset}" '
        f'startNumber="{first.sequence}" initialization={quoteattr(uri(first.init_key) + suffix)} '
        f"media={quoteattr(media + suffix)}><SegmentTimeline>{_timeline(run)}</SegmentTimeline></SegmentTemplate>"
        f"</Representation></AdaptationSet></Period>"
    )


def _timeline(run: Sequence[IndexEntry]) -> str:
    """Return the S elements: each time follows from the one before, or is given."""
    rows: list[tuple[int, int, int]] = []  # time, duration, how often it is repeated
    following: int | None = None
    for entry in run:
        if rows and entry.start == following and entry.duration == rows[-1][1]:
            rows[-1] = rows[-1][0], rows[-1][1], rows[-1][2] + 1
        else:
            rows.append((entry.start, entry.duration, 0))
        following = entry.start + entry.duration
    return "".join(f'<S t="{t}" d="{d}"{f" r={chr(34)}{r}{chr(34)}" if r else ""}/>' for t, d, r in rows)


def _time(seconds: Fraction) -> str:
    """Return a duration of xs:duration, quoted."""
    return f'"PT{float(round(max(seconds, Fraction(0)), 6)):.6f}S"'
