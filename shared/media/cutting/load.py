"""Loading the samples of recorded segments that a range needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from shared.media.cutting.errors import CutError, SegmentUnreadable
from shared.media.cutting.grid import find_grid
from shared.media.cutting.source import Audio, CutSource, Piece, Run, Segment, Video
from shared.media.model import Int64s, SampleTable, TrackConfig
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init

# A hole between two segments' times that is longer than this is missing content; a shorter one is jitter.
HOLE = Fraction(1, 10)
# Segments end by decode time; reordered pictures are shown later than that, by no more than this.
SHOWN_LATER = Fraction(1, 2)
# Packets that are this many samples off their grid at most were placed with care: they follow a drifting clock.
SMOOTH = 4


def load_pieces(source: CutSource, start: Fraction, end: Fraction) -> list[Piece]:
    """Load the samples of all segments that touch [start, end), with one neighbour at each side.

    SegmentUnreadable for a segment or init segment that does not hold what it should.
    """
    pieces = [piece for run in source.runs for piece in _load_run(run, start, end)]
    if not pieces:  # the last pictures of a stream are shown after its last segment's end
        pieces = [piece for run in source.runs for piece in _load_run(run, start - SHOWN_LATER, end)]
    return sorted(pieces, key=lambda piece: piece.start)


def _load_run(run: Run, start: Fraction, end: Fraction) -> Iterator[Piece]:
    if not run.segments:
        return
    tracks = _tracks(run.init)
    lead = next((t for t in tracks if t.kind == "video"), tracks[0])
    for group in _adjacent(run.segments, lead.timescale):
        wanted = [
            index
            for index, segment in enumerate(group)
            if run.origin + Fraction(segment.start + segment.duration, lead.timescale) > start
            and run.origin + Fraction(segment.start, lead.timescale) < end
        ]
        if wanted:
            yield _load_near(run, tracks, lead, group, (wanted[0], wanted[-1] + 1))


def _tracks(init: Path) -> list[TrackConfig]:
    try:
        return parse_init(init.read_bytes())
    except OSError as error:
        raise SegmentUnreadable(init, error.strerror or "cannot be read") from error
    except Mp4Error as error:
        raise SegmentUnreadable(init, str(error)) from error


def _adjacent(segments: Sequence[Segment], timescale: int) -> Iterator[list[Segment]]:
    """Group segments, in order of time, between which nothing is missing."""
    ordered = sorted(segments, key=lambda segment: segment.start)
    group = ordered[:1]
    for before, after in pairwise(ordered):
        if after.start - (before.start + before.duration) > HOLE * timescale:
            yield group
            group = []
        group.append(after)
    yield group


def _load_near(
    run: Run, tracks: Sequence[TrackConfig], lead: TrackConfig, group: Sequence[Segment], wanted: tuple[int, int]
) -> Piece:
    """Load the wanted segments with a neighbour at each side, unless that is unreadable.

    Where the first of them does not begin with a keyframe, earlier ones are loaded up to one that has one.
    """
    first, end = max(wanted[0] - 1, 0), min(wanted[1] + 1, len(group))
    reach = 1
    while True:
        try:
            piece = _load(run, tracks, lead, group[first:end])
        except SegmentUnreadable as error:
            if first < wanted[0] and error.path in [segment.path for segment in group[first : wanted[0]]]:
                first = next(n for n in range(wanted[0]) if group[n].path == error.path) + 1
            elif end > wanted[1] and error.path == group[end - 1].path:
                end = wanted[1]
            else:
                raise
            reach = 0
            continue
        if not first or not reach or _enters(piece.video, wanted[0] - first):
            return piece
        reach *= 2
        first = max(first - reach, 0)


def _enters(video: Video | None, number: int) -> bool:
    """Tell whether a decoder can enter at the start of file `number` of a piece, or before it."""
    if video is None:
        return True
    syncs = np.flatnonzero(video.table.sync)
    starts = np.flatnonzero(video.table.source >= number)
    return bool(len(syncs)) and bool(len(starts)) and bool(syncs[0] <= starts[0])


def _load(run: Run, tracks: Sequence[TrackConfig], lead: TrackConfig, group: Sequence[Segment]) -> Piece:
    paths = tuple(segment.path for segment in group)
    tables = _read(paths)
    _check_whole(tables, tracks, group, lead.timescale)
    video = audio = None
    for track in tracks:
        table = tables.get(track.track_id)
        if table is None or not len(table):
            continue
        if track.kind == "video" and video is None:
            video = _video(track, table, run.origin)
        elif track.kind == "audio" and audio is None:
            audio = Audio(track, table, _steady(table, track.timescale), run.origin)
    first, last = group[0], group[-1]
    return Piece(
        run.session,
        run.origin + Fraction(first.start, lead.timescale),
        run.origin + Fraction(last.start + last.duration, lead.timescale),
        video,
        audio,
        paths,
    )


def _read(paths: tuple[Path, ...]) -> dict[int, SampleTable]:
    try:
        return read_fragments(paths).tables
    except (OSError, Mp4Error) as together:
        for path in paths:  # find out which one it was
            try:
                read_fragments(path)
            except OSError as error:
                raise SegmentUnreadable(path, error.strerror or "cannot be read") from error
            except Mp4Error as error:
                raise SegmentUnreadable(path, str(error)) from error
        raise CutError(f"segments cannot be read together: {together}") from together


def _check_whole(
    tables: dict[int, SampleTable], tracks: Sequence[TrackConfig], group: Sequence[Segment], lead: int
) -> None:
    """Make sure that each segment's samples, of whichever track, reach to its end (ticks of timescale `lead`)."""
    ends = np.full(len(group), -1, np.int64)
    for track in tracks:
        table = tables.get(track.track_id)
        if table is not None:
            np.maximum.at(ends, table.source, (table.dts + table.duration) * lead // track.timescale)
    for segment, end in zip(group, ends, strict=True):
        if end < 0:
            raise SegmentUnreadable(segment.path, "holds no samples")
        if segment.start + segment.duration - int(end) > HOLE * lead:
            raise SegmentUnreadable(segment.path, "ends before its time")


def _video(config: TrackConfig, table: SampleTable, origin: Fraction) -> Video:
    shown = _distinct(table.pts)
    grid = find_grid(shown, config.timescale)
    if grid is None:
        return Video(config, table, shown, Fraction(1, config.timescale), origin, None)
    return Video(config, table, grid.index, 1 / grid.rate, origin + grid.phase / config.timescale, grid.rate)


def _distinct(pts: Int64s) -> Int64s:
    """Move frames that claim the same moment one tick apart."""
    order = np.argsort(pts, kind="stable")
    ranks = np.arange(len(pts), dtype=np.int64)
    apart = np.empty_like(pts)
    apart[order] = np.maximum.accumulate(pts[order] - ranks) + ranks
    return apart


def _steady(table: SampleTable, rate: int) -> Int64s:
    """Undo the rounding of packet times: packets without a jump between them follow each other exactly."""
    wobble = rate * 2 // 1000
    usual = int(np.median(table.duration))
    lengths = np.where(np.abs(table.duration - usual) <= wobble, usual, table.duration)
    counted = np.cumsum(lengths) - lengths
    at = table.dts.copy()
    off_steps = np.abs(np.diff(table.dts) - lengths[:-1])
    todo = list(pairwise((0, *(np.flatnonzero(off_steps > wobble) + 1).tolist(), len(table))))
    while todo:
        first, end = todo.pop()
        if int(off_steps[first : end - 1].max(initial=0)) <= SMOOTH:
            continue
        off = at[first:end] - counted[first:end]
        low, high = int(off.min()), int(off.max())
        if high - low <= 2 * wobble:
            at[first:end] = counted[first:end] + (low + high) // 2
        else:  # the sender's two clocks drift apart: follow them in shorter stretches
            middle = (first + end) // 2
            todo += [(first, middle), (middle, end)]
    return at
