"""Which frames and packets make up a clip, and what is missing in its range.

An in point belongs to the clip, an out point is the first moment that does not: 4 s to 14 s at 30 frames per
second is 300 frames. A clip is never padded: where the recording has gaps, what follows moves up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

import numpy as np

from shared.media.cutting.errors import CutError, EmptyCut
from shared.media.cutting.load import load_pieces
from shared.media.cutting.source import CutSource, Piece, Video
from shared.media.model import Int64s

# A frame counts as at or after a point when it is less than this before it: users' points are rounded, too.
POINT_TOLERANCE = Fraction(1, 2000)


@dataclass(frozen=True, eq=False)
class Span:
    """A stretch of a clip without a hole, shown from stream time `start` to `end`.

    `chosen` are rows of the piece's video table in decode order; None in a clip that has only sound.
    """

    piece: Piece = field(repr=False)
    start: Fraction
    end: Fraction
    chosen: Int64s | None = field(default=None, repr=False)

    @property
    def video(self) -> Video:
        """The video that the frames are chosen from; CutError where there is none."""
        if self.piece.video is None:
            raise CutError("span has no video")
        return self.piece.video

    @property
    def frames(self) -> Int64s:
        """Rows of the chosen frames, in decode order; none in a clip that has only sound."""
        return np.zeros(0, np.int64) if self.chosen is None else self.chosen


@dataclass(frozen=True, slots=True)
class Selection:
    """One way to serve the range: what is shown (stream time), and the spans that hold it."""

    start: Fraction
    end: Fraction
    spans: tuple[Span, ...] = field(repr=False)

    @property
    def duration(self) -> Fraction:
        """Seconds of content; gaps take no time."""
        return sum((span.end - span.start for span in self.spans), Fraction(0))

    @property
    def frames(self) -> int:
        """Count the video frames."""
        return sum(len(span.frames) for span in self.spans)

    @property
    def gaps(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """List (start, duration) in stream time of what is missing between start and end."""
        return tuple(
            (before.end, after.start - before.end)
            for before, after in zip(self.spans, self.spans[1:], strict=False)
            if after.start - before.end > _slack(before)
        )


@dataclass(frozen=True, slots=True)
class CutPlan:
    """The range as asked (stream time, seconds) and the two ways to serve it.

    `exact` starts and ends on the asked frames; `fast` holds the whole segments that contain them.
    """

    in_point: Fraction
    out_point: Fraction
    exact: Selection
    fast: Selection

    @property
    def gaps(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """List (start, duration) in stream time of what the exact clip misses."""
        return self.exact.gaps


def plan_cut(source: CutSource, in_point: Fraction, out_point: Fraction) -> CutPlan:
    """Choose the frames from `in_point` up to before `out_point`, both seconds of stream time.

    A range in which no frame begins gives the one that is on show in it. What lies outside the recording is left
    away. EmptyCut when nothing was recorded in the range, SegmentUnreadable when a segment in it cannot be read.
    """
    if not in_point < out_point:
        raise CutError("the out point must lie after the in point")
    pieces = load_pieces(source, in_point, out_point)
    if any(piece.video is not None for piece in pieces):
        spans = _video_spans(pieces, in_point, out_point) or _on_show(pieces, in_point)
    else:
        spans = _audio_spans(pieces, in_point, out_point)
    if not spans:
        raise EmptyCut("nothing was recorded in the range")
    exact = Selection(spans[0].start, spans[-1].end, tuple(spans))
    whole = tuple(_whole_segments(spans))
    return CutPlan(in_point, out_point, exact, Selection(whole[0].start, whole[-1].end, whole))


def _slack(span: Span) -> Fraction:
    """How far apart two spans may lie and still join: half a frame, or 20 ms of sound."""
    video = span.piece.video
    return Fraction(1, 50) if video is None else video.typical * video.unit / 2


def _video_spans(pieces: Sequence[Piece], in_point: Fraction, out_point: Fraction) -> list[Span]:
    spans: list[Span] = []
    for piece in pieces:
        video = piece.video
        if video is None:
            continue
        start = in_point - POINT_TOLERANCE
        if spans:  # where sessions overlap, the earlier one goes on to its end
            start = max(start, spans[-1].end - _slack(spans[-1]))
        first = ceil((start - video.base) / video.unit)
        end = ceil((out_point - POINT_TOLERANCE - video.base) / video.unit)
        rows = np.flatnonzero((video.at >= max(first, _first_shown(video))) & (video.at < end))
        if len(rows):
            spans.append(_span(piece, video, rows))
    return spans


def _on_show(pieces: Sequence[Piece], moment: Fraction) -> list[Span]:
    """Choose the one frame that a player would show at `moment`; none where nothing was recorded."""
    for piece in pieces:
        video = piece.video
        if video is None:
            continue
        at = floor((moment - video.base) / video.unit)
        rows = np.flatnonzero((video.at >= _first_shown(video)) & (video.at <= at))
        if not len(rows):
            continue
        span = _span(piece, video, rows[[np.argmax(video.at[rows])]])
        if moment < span.end:
            return [span]
    return []


def _first_shown(video: Video) -> int:
    """Find the first frame that can be decoded: the first sync sample, in order of presentation."""
    syncs = np.flatnonzero(video.table.sync)
    if not len(syncs):
        return int(video.at.max()) + 1
    return int(video.at[syncs[0]])


def _span(piece: Piece, video: Video, rows: Int64s) -> Span:
    shown = video.at[rows]
    last = int(shown.max())
    later = video.at[video.at > last]
    end = min(last + video.typical, int(later.min())) if len(later) else last + video.typical
    return Span(piece, video.time(int(shown.min())), video.time(end), rows)


def _audio_spans(pieces: Sequence[Piece], in_point: Fraction, out_point: Fraction) -> list[Span]:
    spans: list[Span] = []
    for piece in pieces:
        audio = piece.audio
        if audio is None:
            continue
        rate = audio.config.timescale
        first = audio.base + Fraction(int(audio.at[0]), rate)
        last = audio.base + Fraction(int(audio.at[-1] + audio.table.duration[-1]), rate)
        start, end = max(in_point, first, spans[-1].end if spans else first), min(out_point, last)
        if start < end:
            spans.append(Span(piece, start, end))
    return spans


def _whole_segments(spans: Sequence[Span]) -> list[Span]:
    """Widen the spans to the segments that hold their frames; pictures that need earlier ones stay out."""
    wide: list[Span] = []
    for span in spans:
        video = span.piece.video
        if video is None:
            wide.append(span)
            continue
        source = video.table.source
        syncs = np.flatnonzero(video.table.sync)
        before = syncs[video.at[syncs] <= video.at[span.frames].min()]
        entry = before[-1] if len(before) else span.frames[0]
        used = (source >= source[entry]) & (source <= source[span.frames].max())
        entries = np.flatnonzero(used & video.table.sync)
        if wide:  # where sessions overlap, begin at the first picture of its own that needs no other
            from_there = ceil((wide[-1].end - _slack(wide[-1]) - video.base) / video.unit)
            later = entries[video.at[entries] >= from_there]
            entries = later if len(later) else entries
        floor = video.at[entries[0]] if len(entries) else video.at[span.frames].min()
        rows = np.flatnonzero(used & (video.at >= floor))
        wide.append(_span(span.piece, video, rows if len(rows) else span.frames))
    return wide
