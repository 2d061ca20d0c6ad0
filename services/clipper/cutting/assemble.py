"""Putting copied and encoded parts on one time line: the sample tables of the clip's tracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from services.clipper.cutting.columns import joined, taken
from services.clipper.cutting.plan import ClipSpan
from services.clipper.movie.movie import Edit, MovieTrack
from shared.media.model import Bools, Int64s, SampleTable
from shared.media.seams.source import reorder_depth
from shared.media.tracks import TrackConfig

# Ticks per second where frames are not on a steady rate, or where 90 kHz holds that rate's frames exactly.
USUAL_TIMESCALE = 90_000
VIDEO_TRACK, AUDIO_TRACK = 1, 2


@dataclass(frozen=True, eq=False)
class VideoPart:
    """Frames of one span in decode order; `at` counts units of the span's video, `source` indexes `files`."""

    kind: Literal["copy", "encode"]
    span: ClipSpan
    at: Int64s
    sync: Bools
    size: Int64s
    offset: Int64s
    source: Int64s
    files: tuple[Path, ...]
    entry: int = 0


def copied_part(span: ClipSpan, rows: Int64s, entry: int = 0) -> VideoPart:
    """Return recorded frames as a part, unchanged."""
    table = span.video.table
    size, offset, source = (taken(column, rows) for column in (table.size, table.offset, table.source))
    return VideoPart(
        "copy", span, taken(span.video.at, rows), taken(table.sync, rows), size, offset, source, table.files, entry
    )


def steady_rate(spans: Sequence[ClipSpan]) -> Fraction | None:
    """Return the frame rate that all spans share; None when one of them varies or differs."""
    rates = {span.video.rate for span in spans if len(span.frames)}
    return rates.pop() if len(rates) == 1 else None


def video_track(
    parts: Sequence[VideoPart], spans: Sequence[ClipSpan], config: TrackConfig, extra_entries: tuple[bytes, ...] = ()
) -> MovieTrack:
    """Lay out video parts from time 0 on.

    New decode times are the presentation times in order, moved back by the deepest reordering of all parts, so they
    rise steadily over every seam, whatever delay each encoder had.
    """
    timescale, shown, usual = _shown_times(parts, spans)
    order = np.sort(shown)
    depth = reorder_depth(shown)
    lead = order[0] - usual * np.arange(depth, 0, -1)
    dts = np.append(lead, order)[: len(order)]
    length = round(sum((span.end - span.start for span in spans), Fraction(0)) * timescale)
    last = max(int(order[0]) + length - int(order[-1]), 1)
    durations = np.append(np.diff(dts), last)
    files, sources = merge_files([(part.files, part.source) for part in parts])
    table = SampleTable(
        dts,
        shown,
        durations,
        joined([part.size for part in parts]),
        joined([part.sync for part in parts]),
        joined([part.offset for part in parts]),
        sources,
        files,
    )
    entry = joined([np.full(len(part.at), part.entry, np.int64) for part in parts]) if extra_entries else None
    config = replace(config, track_id=VIDEO_TRACK, timescale=timescale)
    edits = (Edit(int(order[0]), length),)
    return MovieTrack(config, table, extra_entries, entry, edits)


def _shown_times(parts: Sequence[VideoPart], spans: Sequence[ClipSpan]) -> tuple[int, Int64s, int]:
    """Return the timescale, every frame's presentation time in it, and a frame's usual duration."""
    rate = steady_rate(spans)
    timescale = USUAL_TIMESCALE
    if rate is not None and (timescale / rate).denominator != 1:
        timescale = rate.numerator
    shown: list[Int64s] = []
    clip_time = Fraction(0)
    for span in spans:
        mine = [part for part in parts if part.span is span]
        if mine:  # the clip's first picture is shown from 0 on
            shown += _placed(span, mine, clip_time if shown else Fraction(0), clip_time, timescale)
        clip_time += span.end - span.start
    video = parts[0].span.video
    return timescale, joined(shown), max(round(video.typical * video.unit * timescale), 1)


def _placed(
    span: ClipSpan, parts: Sequence[VideoPart], begin: Fraction, clip_time: Fraction, timescale: int
) -> Iterator[Int64s]:
    """Yield the ticks at which a span's frames are shown: the first one at `begin`, the others by their own times."""
    first = int(span.video.at[span.frames].min())
    start = round((clip_time + span.video.time(first) - span.start) * timescale)
    unit = span.video.unit * timescale
    for part in parts:
        ticks = start + ((part.at - first) * unit.numerator + unit.denominator // 2) // unit.denominator
        yield np.where(part.at == first, round(begin * timescale), ticks)


def merge_files(parts: Sequence[tuple[tuple[Path, ...], Int64s]]) -> tuple[tuple[Path, ...], Int64s]:
    """Return the files of all parts, each once, and every sample's index into them."""
    index: dict[Path, int] = {}
    sources = []
    for files, source in parts:
        known = [index.setdefault(path, len(index)) for path in files]
        sources.append(source if known == list(range(len(files))) else np.array(known, np.int64)[source])
    return tuple(index), joined(sources)
