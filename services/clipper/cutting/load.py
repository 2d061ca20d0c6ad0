"""Loading the samples of recorded segments that a range needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from services.clipper.cutting.packets import place_packets
from services.clipper.sealed_path import SealedPath
from shared.media.bitstream.mpeg_audio import HEADER, read_mpeg_audio
from shared.media.model import Int64s, SampleTable
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from shared.media.seams.errors import CutError, SegmentUnreadable
from shared.media.seams.grid import find_grid
from shared.media.seams.source import HOLE, Audio, CutSource, Piece, Run, Segment, Video
from shared.media.tracks import TrackConfig

# Segments end at a decode time. Pictures may be shown, and sound may go on, up to this long after it, s.
BEYOND = Fraction(4)
# No picture begins with this many zeros: its first bytes are a NAL unit's length and header, or an OBU's, or a frame's.
_TOLD = 5


def load_pieces(source: CutSource, start: Fraction, end: Fraction) -> list[Piece]:
    """Load the samples of all segments that touch [start, end), with one neighbour on each side.

    SegmentUnreadable for a segment or init segment with missing or damaged content.
    """
    pieces = [piece for run in source.runs for piece in _load_run(run, start, end)]
    return sorted(pieces, key=lambda piece: piece.start)


def _load_run(run: Run, start: Fraction, end: Fraction) -> Iterator[Piece]:
    if not run.segments:
        return
    tracks = _tracks(run.init)
    lead = next((t for t in tracks if t.kind == "video"), tracks[0])
    for group in _adjacent(run.segments, lead.timescale):
        starts = [run.origin + Fraction(segment.start, lead.timescale) for segment in group]
        ends = [run.origin + Fraction(segment.start + segment.duration, lead.timescale) for segment in group]
        wanted = [index for index in range(len(group)) if ends[index] > start and starts[index] < end]
        beside = [index for index in range(len(group)) if ends[index] <= start < ends[index] + BEYOND][-1:]
        piece = None
        if beside and (not wanted or starts[wanted[0]] - start > HOLE):
            with suppress(SegmentUnreadable):  # its time lies outside the range, but its samples may reach into it
                piece = _load_near(run, tracks, lead, group, (beside[0], max(beside[0], *wanted, 0) + 1))
        if piece is None and wanted:
            piece = _load_near(run, tracks, lead, group, (wanted[0], wanted[-1] + 1))
        if piece is not None and any(part.start < end and part.end > start for part in piece.stretches):
            yield piece


def _tracks(init: Path) -> list[TrackConfig]:
    try:
        return parse_init(init.read_bytes())
    except OSError as error:
        raise SegmentUnreadable(init, error.strerror or "cannot be read") from error
    except Mp4Error as error:
        raise SegmentUnreadable(init, str(error)) from error


def _adjacent(segments: Sequence[Segment], timescale: int) -> Iterator[list[Segment]]:
    """Split segments, ordered by time, into groups at holes longer than BEYOND."""
    ordered = sorted(segments, key=lambda segment: segment.start)
    group = ordered[:1]
    for before, after in pairwise(ordered):
        if after.start - (before.start + before.duration) > BEYOND * timescale:
            yield group
            group = []
        group.append(after)
    yield group


def _load_near(
    run: Run, tracks: Sequence[TrackConfig], lead: TrackConfig, group: Sequence[Segment], wanted: tuple[int, int]
) -> Piece:
    """Load the wanted segments with a neighbour on each side, unless that is unreadable.

    When the first of them does not begin with a keyframe, earlier ones are loaded back to one that has one.
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
        if not first or not reach or lead.kind == "audio":
            return piece
        if _enters(piece.video, wanted[0] - first, group[wanted[0]].start):
            return piece
        reach *= 2
        first = max(first - reach, 0)


def _enters(video: Video | None, number: int, start: int) -> bool:
    """Return whether there is a picture to show from tick `start` on, where file `number` of a piece begins.

    A decoder must be able to enter there or before; when sound comes first, an earlier picture is still on show.
    """
    if video is None:
        return False
    syncs = np.flatnonzero(video.table.sync)
    inside = np.flatnonzero(video.table.source >= number)
    if not len(syncs) or not len(inside):
        return bool(len(syncs))
    first = int(inside[0])
    late = int(video.table.dts[first]) - start > HOLE * video.config.timescale
    return bool(syncs[0] < first + (not late))


def _load(run: Run, tracks: Sequence[TrackConfig], lead: TrackConfig, group: Sequence[Segment]) -> Piece:
    paths = tuple(segment.path for segment in group)
    tables = _read(paths)
    _check_whole(tables, tracks, group, lead.timescale)
    if lead.kind == "video" and lead.track_id in tables:
        _check_filled(tables[lead.track_id])
    video, sounds = None, dict[int, Audio]()
    late = Fraction(0)  # pictures are counted from a late first stamp, and sound is moved by as much
    for track in tracks:
        table = tables.get(track.track_id)
        if table is None or not len(table):
            continue
        if track.kind == "video" and video is None:
            video, late = _video(track, table, run)
        elif track.kind == "audio":
            sounds[track.track_id] = _audio(track, table, run.origin + late)
    main = next((track.track_id for track in tracks if track.kind == "audio"), 0)
    first, last = group[0], group[-1]
    return Piece(
        run.session,
        run.origin + Fraction(first.start, lead.timescale),
        run.origin + Fraction(last.start + last.duration, lead.timescale),
        video,
        sounds.pop(main, None),
        paths,
        tuple(sounds.values()),
    )


def _read(paths: tuple[Path, ...]) -> dict[int, SampleTable]:
    try:
        return read_fragments(paths).tables
    except (OSError, Mp4Error) as together:
        for path in paths:  # find the damaged one
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
    """Check that each segment's samples, of any track, reach to its end (ticks of timescale `lead`)."""
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


def _check_filled(table: SampleTable) -> None:
    """Check that no file's first or last picture is all zeros: a power cut leaves zeros where nothing was written."""
    edges = np.flatnonzero(np.diff(table.source, prepend=-1, append=-1))
    for row in sorted({*edges[:-1].tolist(), *(edges[1:] - 1).tolist()}):
        if not any(_begin(table, row, _TOLD)):
            raise SegmentUnreadable(table.files[int(table.source[row])], "holds zeros")


def _begin(table: SampleTable, row: int, most: int, *, clear: bool = False) -> bytes:
    """Read the first bytes of a sample: as they lie in the file, or those that were encrypted."""
    path = table.files[int(table.source[row])]
    try:
        at, size = int(table.offset[row]), min(most, int(table.size[row]))
        if clear and isinstance(path, SealedPath):
            return path.clear()[at : at + size]
        with path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, at)
    except OSError as error:
        raise SegmentUnreadable(path, error.strerror or "cannot be read") from error


def _video(config: TrackConfig, table: SampleTable, run: Run) -> tuple[Video, Fraction]:
    """Return the frames on their grid, and how late (s) the session's first stamp is by the encoder's clock."""
    shown = _distinct(table.pts)
    grid = find_grid(shown, config.timescale, run.zero)
    if grid is None:
        return Video(config, table, shown, Fraction(1, config.timescale), run.origin, None), Fraction(0)
    base = run.origin + grid.phase / config.timescale
    return Video(config, table, grid.index, 1 / grid.rate, base, grid.rate), grid.late / config.timescale


def _distinct(pts: Int64s) -> Int64s:
    """Move frames with the same presentation time one tick apart."""
    order = np.argsort(pts, kind="stable")
    ranks = np.arange(len(pts), dtype=np.int64)
    apart = np.empty_like(pts)
    apart[order] = np.maximum.accumulate(pts[order] - ranks) + ranks
    return apart


def _audio(config: TrackConfig, table: SampleTable, base: Fraction) -> Audio:
    if config.codec == "mp3":  # its sample entry is that of all layers
        frame = read_mpeg_audio(_begin(table, 0, HEADER, clear=True))
        config = config if frame is None else replace(config, codec=frame.codec)
    rows, at = place_packets(table, config.timescale)
    return Audio(config, table if len(rows) == len(table) else _chosen(table, rows), at, base)


def _chosen(table: SampleTable, rows: Int64s) -> SampleTable:
    times = table.dts[rows], table.pts[rows], table.duration[rows]
    return SampleTable(
        *times, table.size[rows], table.sync[rows], table.offset[rows], table.source[rows], table.files
    )  # fmt: skip
