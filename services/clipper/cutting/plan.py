"""Choosing the frames and packets of a clip, and finding what is missing in its range.

The in point belongs to the clip, the out point is the first moment that does not: 4 s to 14 s at 30 frames per
second is 300 frames. A clip is never padded: after a gap in the recording, the following frames move up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Literal, NamedTuple

import numpy as np

from services.clipper.cutting.load import load_pieces
from services.clipper.cutting.spans import POINT_TOLERANCE, ClipSpan, choose_spans, slack
from shared.media.model import Int64s
from shared.media.seams.errors import CutError, EmptyCut
from shared.media.seams.source import HOLE, CutSource, Stretch

__all__ = ["POINT_TOLERANCE", "Candidate", "ClipSpan", "CutPlan", "Missing", "plan_cut"]


class Missing(NamedTuple):
    """A part of stream time that a clip lacks, in s: all tracks (what follows moves up), or one track alone."""

    start: Fraction
    duration: Fraction
    track: Literal["all", "video", "audio"] = "all"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve the range: the stream time that it shows, and the spans that hold it."""

    start: Fraction
    end: Fraction
    spans: tuple[ClipSpan, ...] = field(repr=False)

    @property
    def duration(self) -> Fraction:
        """Return seconds of content; gaps take no time."""
        return sum((span.end - span.start for span in self.spans), Fraction(0))

    @property
    def frames(self) -> int:
        """Return the number of video frames."""
        return sum(len(span.frames) for span in self.spans)

    @property
    def pictured(self) -> tuple[ClipSpan, ...]:
        """Return the spans that have frames."""
        return tuple(span for span in self.spans if len(span.frames))

    @property
    def gaps(self) -> tuple[Missing, ...]:
        """Return what is missing between start and end, in order of stream time."""
        found = [
            Missing(before.end, after.start - before.end)
            for before, after in pairwise(self.spans)
            if after.start - before.end > slack(before)
        ]
        if self.frames:
            found += [hole for span in self.spans for hole in _pictures_missing(span)]
        if any(span.piece.audio is not None for span in self.spans):
            found += [hole for span in self.spans for hole in _sound_missing(span)]
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class CutPlan:
    """The requested range (stream time, seconds) and the two ways to serve it.

    `exact` starts and ends on the requested frames; `fast` holds the whole segments that contain them.
    """

    in_point: Fraction
    out_point: Fraction
    exact: Candidate
    fast: Candidate

    @property
    def gaps(self) -> tuple[Missing, ...]:
        """Return the gaps of the exact clip, in stream time."""
        return self.exact.gaps


def plan_cut(source: CutSource, in_point: Fraction, out_point: Fraction) -> CutPlan:
    """Choose the frames in [`in_point`, `out_point`), both seconds of stream time.

    A range in which no frame begins gets the one that is on show in it. Time outside the recording is left out.
    EmptyCut when nothing was recorded in the range, SegmentUnreadable when a segment in it cannot be read.
    """
    if not in_point < out_point:
        raise CutError("the out point must lie after the in point")
    spans = choose_spans(load_pieces(source, in_point, out_point), in_point, out_point)
    if not spans:
        raise EmptyCut("nothing was recorded in the range")
    exact = Candidate(spans[0].start, spans[-1].end, tuple(spans))
    whole = tuple(_whole_segments(spans))
    return CutPlan(in_point, out_point, exact, Candidate(whole[0].start, whole[-1].end, whole))


def _pictures_missing(span: ClipSpan) -> Iterator[Missing]:
    """Yield the times in which sound goes on without pictures."""
    video = span.piece.video
    shown = video.stretches if video is not None else ()
    yield from (Missing(start, end - start, "video") for start, end in _between(span, shown))


def _sound_missing(span: ClipSpan) -> Iterator[Missing]:
    """Yield the times in which pictures go on without sound; short ones at its edges are ignored."""
    audio = span.piece.audio
    heard = audio.stretches if audio is not None else ()
    yield from (Missing(start, end - start, "audio") for start, end in _between(span, heard))


def _between(span: ClipSpan, there: Sequence[Stretch]) -> Iterator[Stretch]:
    """Yield the parts of a span that the stretches of a track do not cover."""
    whole = Stretch(min(span.start, span.piece.stretches[0].start), max(span.end, span.piece.stretches[-1].end))
    bounds = [Stretch(whole.start, whole.start), *there, Stretch(whole.end, whole.end)]
    for number, (before, after) in enumerate(pairwise(bounds)):
        inner = 0 < number < len(there)
        hole = Stretch(max(before.end, span.start), min(after.start, span.end))
        if (inner or after.start - before.end > HOLE) and hole.end - hole.start > POINT_TOLERANCE:
            yield hole


def _whole_segments(spans: Sequence[ClipSpan]) -> list[ClipSpan]:
    """Widen the spans to the segments that hold their frames; pictures that need earlier ones are left out."""
    wide: list[ClipSpan] = []
    for number, span in enumerate(spans):
        if not len(span.frames):
            wide.append(span)
            continue
        video = span.video
        rows = _widened(span, wide[-1] if wide else None, spans[number + 1] if number + 1 < len(spans) else None)
        first, last = int(video.at[rows].min()), int(rows[np.argmax(video.at[rows])])
        own = video.time(int(video.at[span.frames].min()))  # before it at most sound was recorded
        start = min(span.start, own) if first == video.at[span.frames].min() and span.start < own else video.time(first)
        end = video.time(int(video.until[last]))
        if span.end > end or (number + 1 < len(spans) and end > spans[number + 1].start):
            end = span.end
        wide.append(ClipSpan(span.piece, start, end, rows))
    return wide


def _widened(span: ClipSpan, before: ClipSpan | None, after: ClipSpan | None) -> Int64s:
    """Return the rows of a span's whole segments, from an entry on, without those of the neighbouring spans."""
    video = span.video
    source = video.table.source
    syncs = np.flatnonzero(video.table.sync)
    earlier = syncs[video.at[syncs] <= video.at[span.frames].min()]
    entry = earlier[-1] if len(earlier) else span.frames[0]
    used = (source >= source[entry]) & (source <= source[span.frames].max())
    if after is not None and after.piece is span.piece:
        used &= video.at <= video.at[span.frames].max()
    if before is not None and before.piece is span.piece and len(before.frames):  # continue after its last frame
        return np.flatnonzero(used & (video.at > video.at[before.frames].max()))
    entries = np.flatnonzero(used & video.table.sync)
    if before is not None:  # where sessions overlap, start at its own first picture that needs no other
        from_there = ceil((before.end - slack(before) - video.base) / video.unit)
        later = entries[video.at[entries] >= from_there]
        entries = later if len(later) else entries
    floor = video.at[entries[0]] if len(entries) else video.at[span.frames].min()
    rows = np.flatnonzero(used & (video.at >= floor))
    return rows if len(rows) else span.frames
