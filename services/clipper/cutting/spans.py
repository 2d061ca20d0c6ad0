"""Choosing the spans of a clip: which frames are shown and when, and where sound goes on without any.

A clip has all pictures and all sound of its range. Where both are missing, what follows moves up. Where only pictures
are missing, the last one stays on show, or the first one is shown early; where only sound is missing, there is silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil, floor

import numpy as np

from shared.media.model import Int64s
from shared.media.seams.errors import CutError
from shared.media.seams.source import HOLE, Piece, Stretch, Video, joined

# A frame counts as at or after a point when it is at most this much before it. Points are in ms, so they are up to half
# of one off; the rest is for frames whose own time is only known to 0.02 ms, from stamps rounded to ms.
POINT_TOLERANCE = Fraction(11, 20000)
# Sound that begins up to this long (s) before the first picture, or ends up to this long after the last one, is left
# out without a gap: an encoder's delay makes tracks begin and end apart.
EDGE = Fraction(1, 2)
# A frame on show for longer than this (s) is held, however slow the others are: points in it are kept.
LONGEST_USUAL = Fraction(1)


@dataclass(frozen=True, eq=False)
class ClipSpan:
    """A continuous stretch of a clip, shown from stream time `start` to `end`.

    `chosen` are rows of the piece's video table in decode order; empty where sound goes on without a new picture,
    None in a clip that has only sound. The first picture is shown from `start` on, whatever its own time is.
    """

    piece: Piece = field(repr=False)
    start: Fraction
    end: Fraction
    chosen: Int64s | None = field(default=None, repr=False)

    @property
    def video(self) -> Video:
        """Return the video that the frames are chosen from; CutError when there is none."""
        if self.piece.video is None:
            raise CutError("span has no video")
        return self.piece.video

    @property
    def frames(self) -> Int64s:
        """Return rows of the chosen frames, in decode order; none in a clip that has only sound."""
        return np.zeros(0, np.int64) if self.chosen is None else self.chosen

    @property
    def pictures_end(self) -> Fraction:
        """Return the time at which the last frame's recorded duration ends."""
        return self.video.time(int(self.video.until[self.chosen].max())) if len(self.frames) else self.start


def slack(span: ClipSpan) -> Fraction:
    """Return how far apart two spans may lie and still join, s: half a frame, or 20 ms of sound."""
    video = span.piece.video
    return Fraction(1, 50) if video is None else video.typical * video.unit / 2


def choose_spans(pieces: Sequence[Piece], in_point: Fraction, out_point: Fraction) -> list[ClipSpan]:
    """Choose what is shown and heard from `in_point` to `out_point`; empty when nothing was recorded."""
    if not any(piece.video is not None for piece in pieces):
        return _sound_spans(pieces, in_point, out_point)
    spans = _chosen(pieces, in_point, out_point, sole=False) or _chosen(pieces, in_point, out_point, sole=True)[:1]
    if any(len(span.frames) for span in spans):
        return spans
    return [replace(span, chosen=None) for span in spans]


def _chosen(pieces: Sequence[Piece], in_point: Fraction, out_point: Fraction, *, sole: bool) -> list[ClipSpan]:
    spans: list[ClipSpan] = []
    for number, piece in enumerate(pieces):
        following = pieces[number + 1].start if number + 1 < len(pieces) else None
        for island in _islands(piece, following):
            wish = _Wish(in_point, in_point - POINT_TOLERANCE, out_point, sole)
            if spans:  # where sessions overlap, the earlier one is shown to the end of its pictures
                before = spans[-1]
                shown = before.pictures_end
                wish = replace(wish, start=max(in_point, shown), frames=max(wish.frames, shown - slack(before)))
            span = _span(piece, island, wish)
            if span is None:
                continue
            if spans and spans[-1].end > span.start:
                spans[-1] = replace(spans[-1], end=max(span.start, spans[-1].start))
            spans.append(span)
    return [span for span in spans if span.end > span.start]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is wanted: from `start` to `end`; the frames from `frames` on. `sole`: even a part of one frame suffices."""

    start: Fraction
    frames: Fraction
    end: Fraction
    sole: bool


def _islands(piece: Piece, following: Fraction | None) -> Iterator[Stretch]:
    """Yield the parts of a piece between which both pictures and sound are missing."""
    pictures = piece.video.stretches if piece.video is not None else ()
    for island in piece.stretches:
        shown = [stretch for stretch in pictures if stretch.start < island.end and stretch.end > island.start]
        start, end = island
        if shown:
            start = start if shown[0].start - start > EDGE else shown[0].start
            goes_on = following is not None and island.start < following <= island.end + HOLE
            end = end if island.end - shown[-1].end > EDGE or goes_on else shown[-1].end
        elif end - start <= EDGE:
            continue
        yield Stretch(start, end)


def _span(piece: Piece, island: Stretch, wish: _Wish) -> ClipSpan | None:
    """Choose the wanted part of an island; None when there is nothing."""
    start, end = max(wish.start, island.start), min(wish.end, island.end)
    video = piece.video
    if start >= end:
        return None
    if video is None:
        return ClipSpan(piece, start, end, np.zeros(0, np.int64))
    rows = _begun(video, island, wish)
    usual = max(HOLE, min(video.typical * video.unit, LONGEST_USUAL))
    first = video.time(int(video.at[rows].min())) if len(rows) else end
    if first - start > usual or (wish.sole and not len(rows)):
        before = _on_show(video, island, start)
        if before is None and not len(rows):
            return ClipSpan(piece, start, end, rows)
        rows = rows if before is None else np.append(before, rows)
        if before is not None and len(rows) == 1 and _is_usual(video, before, start, usual):
            start = video.time(int(video.at[before]))  # the clip is this one frame: it is shown whole
    elif len(rows):
        start = first
    else:
        return None
    last = int(rows[np.argmax(video.at[rows])])
    gone = video.time(int(video.until[last]))
    if gone < end:
        return ClipSpan(piece, start, end if end - gone > HOLE else gone, rows)
    return ClipSpan(piece, start, gone if _is_usual(video, last, end, usual) else end, rows)


def _begun(video: Video, island: Stretch, wish: _Wish) -> Int64s:
    """Return the rows of an island's frames that begin in the range."""
    half = video.typical * video.unit / 2
    first = ceil((max(wish.frames, island.start - half) - video.base) / video.unit)
    end = ceil((min(wish.end - POINT_TOLERANCE, island.end) - video.base) / video.unit)
    return np.flatnonzero((video.at >= max(first, video.first_shown)) & (video.at < end))


def _on_show(video: Video, island: Stretch, moment: Fraction) -> int | None:
    """Return the row of the island's frame on show at `moment`; None before the first one."""
    from_there = max(ceil((island.start - video.base) / video.unit), video.first_shown)
    rows = np.flatnonzero((video.at >= from_there) & (video.at <= floor((moment - video.base) / video.unit)))
    return int(rows[np.argmax(video.at[rows])]) if len(rows) else None


def _is_usual(video: Video, row: int, moment: Fraction, usual: Fraction) -> bool:
    """Return whether a frame is on show at `moment` and no longer than usual: then it is shown whole."""
    gone = video.time(int(video.until[row]))
    return gone >= moment and gone - video.time(int(video.at[row])) <= usual


def _sound_spans(pieces: Sequence[Piece], in_point: Fraction, out_point: Fraction) -> list[ClipSpan]:
    spans: list[ClipSpan] = []
    for piece in pieces:
        for island in joined(piece.audio.stretches if piece.audio is not None else ()):
            start = max(in_point, island.start, spans[-1].end if spans else island.start)
            end = min(out_point, island.end)
            if start < end:
                spans.append(ClipSpan(piece, start, end))
    return spans
