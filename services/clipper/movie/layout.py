"""The layout of samples in a movie: chunks of each track, and their order in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.clipper.movie.moov_types import MovieTrack
from shared.media.model import Bools, Int64s, SampleTable

LONGEST_S = 1  # a chunk spans one second at most, so that a player reads tracks side by side
MAX_BREAKS_PER_S = 8  # when source bytes are more scattered than this, chunks ignore it


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of one track: first sample, count and bytes of each, and where contiguous runs begin."""

    first: Int64s
    count: Int64s
    bytes: Int64s
    entry: Int64s
    breaks: Bools

    def runs(self, samples: SampleTable) -> list[list[tuple[int, int, int]]]:
        """Return for each chunk the (source, offset, length) of its contiguous runs."""
        cut = self.breaks.copy()
        cut[self.first] = True
        starts = np.flatnonzero(cut)
        lengths = np.add.reduceat(samples.size, starts)
        owner = np.searchsorted(self.first, starts, side="right") - 1
        found: list[list[tuple[int, int, int]]] = [[] for _ in self.first]
        columns = (owner, samples.source[starts], samples.offset[starts], lengths)
        for chunk, source, offset, length in zip(*(c.tolist() for c in columns), strict=True):
            found[chunk].append((source, offset, length))
        return found


def chunk_track(track: MovieTrack) -> Chunks:
    """Cut a track into chunks of at most a second, also where its source bytes lie apart, if that is not too often."""
    samples = track.samples
    breaks = np.ones(len(samples), np.bool_)
    ends = samples.offset[:-1] + samples.size[:-1]
    breaks[1:] = (samples.source[1:] != samples.source[:-1]) | (samples.offset[1:] != ends)
    scale = track.config.timescale
    span = int(samples.dts[-1] - samples.dts[0]) / scale
    cut = np.zeros(len(samples), np.bool_)
    if int(breaks.sum()) <= MAX_BREAKS_PER_S * span + 8:
        cut |= breaks
    cut[0] = True
    entry = np.zeros(len(samples), np.int64) if track.entry is None else track.entry
    cut[1:] |= entry[1:] != entry[:-1]
    run = np.flatnonzero(cut)
    base = samples.dts[run][np.cumsum(cut) - 1]
    grid = (samples.dts - base) // (scale * LONGEST_S)
    cut[1:] |= grid[1:] != grid[:-1]
    first = np.flatnonzero(cut).astype(np.int64)
    count = np.diff(np.append(first, len(samples)))
    return Chunks(first, count, np.add.reduceat(samples.size, first), entry[first], breaks)


def interleave(tracks: Sequence[MovieTrack], chunks: Sequence[Chunks]) -> list[tuple[int, int]]:
    """Return all chunks as (track, index) by decode time; chunks near in time keep the order of their file.

    Recorded parts hold video, then audio: in that order a whole part can be copied at once.
    """
    heads = [0] * len(tracks)
    times, offsets = zip(*(_offsets(t, c) for t, c in zip(tracks, chunks, strict=True)), strict=True)
    order: list[tuple[int, int]] = []
    for _ in range(sum(len(c.first) for c in chunks)):
        ready = [i for i, head in enumerate(heads) if head < len(times[i])]
        chosen = min(ready, key=lambda i: (times[i][heads[i]], i))
        latest = times[chosen][heads[chosen]] + LONGEST_S
        for i in ready:
            (file, offset), (chosen_file, chosen_offset) = offsets[i][heads[i]], offsets[chosen][heads[chosen]]
            if file == chosen_file and offset < chosen_offset and times[i][heads[i]] <= latest:
                chosen = i
        order.append((chosen, heads[chosen]))
        heads[chosen] += 1
    return order


def _offsets(track: MovieTrack, chunks: Chunks) -> tuple[list[float], list[tuple[Path, int]]]:
    """Return each chunk's decode time (s, for ordering alone), and the offset in its file at which it begins."""
    samples = track.samples
    times = (samples.dts[chunks.first] / track.config.timescale).tolist()
    begin = zip(samples.source[chunks.first].tolist(), samples.offset[chunks.first].tolist(), strict=True)
    return times, [(samples.files[source], offset) for source, offset in begin]
