"""The source of a clip: runs of recorded segments, and their loaded samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shared.media.model import Int64s, SampleTable
from shared.media.mp4.entries import codec_record
from shared.media.seams.forms import form_of
from shared.media.tracks import FRAME_CODECS, TrackConfig

# A hole longer than this, in s, is missing content; a shorter one is jitter or a dropped frame.
HOLE = Fraction(1, 10)


class Stretch(NamedTuple):
    """A part of stream time in which nothing is missing."""

    start: Fraction
    end: Fraction


@dataclass(frozen=True, slots=True)
class Segment:
    """A recorded segment; `start` and `duration` are ticks of the video track (or audio's, without video)."""

    path: Path
    start: int
    duration: int


@dataclass(frozen=True, slots=True)
class Run:
    """Segments of one session that share an init segment; `origin` is the stream time of tick 0, in seconds.

    `zero` is the (video) tick at which the session's first frame is shown.
    """

    init: Path
    segments: tuple[Segment, ...]
    origin: Fraction
    session: str = ""
    zero: int = 0


@dataclass(frozen=True, slots=True)
class CutSource:
    """A recording, or the part of one that a clip may need: runs in order of stream time."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, eq=False)
class Video:
    """Loaded video samples. Frame n (decode order) is shown at `base` + `at[n]` * `unit` seconds of stream time.

    With a steady rate (`rate`) a unit is a frame, otherwise a tick.
    """

    config: TrackConfig
    table: SampleTable
    at: Int64s
    unit: Fraction
    base: Fraction
    rate: Fraction | None

    def time(self, at: int) -> Fraction:
        """Convert a position to stream time."""
        return self.base + at * self.unit

    @cached_property
    def typical(self) -> int:
        """Return a frame's usual duration, in units."""
        if self.rate is not None:
            return 1
        steps = np.diff(np.sort(self.at))
        return max(int(np.median(steps)), 1) if len(steps) else max(int(self.table.duration[0]), 1)

    @cached_property
    def first_shown(self) -> int:
        """Return the position of the first frame that can be decoded: the first sync sample."""
        syncs = np.flatnonzero(self.table.sync)
        return int(self.at[syncs[0]]) if len(syncs) else int(self.at.max()) + 1

    @cached_property
    def until(self) -> Int64s:
        """Return the position at which each frame ends: at the next one or, before a hole, after its duration."""
        order = np.argsort(self.at, kind="stable")
        until = np.empty_like(self.at)
        until[order[:-1]] = self.at[order[1:]]
        until[order[-1]] = np.iinfo(np.int64).max
        for first, end in self._runs:
            last = first + int(np.argmax(self.at[first:end]))
            until[last] = min(int(until[last]), int(self.at[last]) + self._lasting(first, end, last))
        return until

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """Return the parts of stream time that have frames, in order."""
        found: list[Stretch] = []
        for first, end in self._runs:
            rows = np.arange(first, end)
            rows = rows[self.at[rows] >= self.first_shown]
            if len(rows):
                found.append(Stretch(self.time(int(self.at[rows].min())), self.time(int(self.until[rows].max()))))
        return joined(found)

    @cached_property
    def _runs(self) -> list[tuple[int, int]]:
        """Return runs of rows, [first, end), without a hole between samples by their recorded durations."""
        table = self.table
        hole = table.dts[1:] - table.dts[:-1] - table.duration[:-1] > int(HOLE * self.config.timescale)
        return list(pairwise((0, *(np.flatnonzero(hole) + 1).tolist(), len(table))))

    def _lasting(self, first: int, end: int, last: int) -> int:
        """Return how long the `last` shown frame of a run of rows is on show, by the durations of its samples."""
        table = self.table
        if not self.depth:
            count = round(int(table.duration[last]) / (self.unit * self.config.timescale))
            return count if 2 * count > self.typical else self.typical
        entries = first + np.flatnonzero(table.sync[first:end])
        delay = int((table.pts[entries] - table.dts[entries]).min()) if len(entries) else 0
        ticks = int(table.dts[end - 1] + table.duration[end - 1]) + delay - int(table.pts[last])
        count = round(ticks / (self.unit * self.config.timescale))
        # leading pictures of an open GOP make the delay look longer than it is
        return count if count - self.typical > max(int(HOLE / self.unit), 8 * self.typical) else self.typical

    @cached_property
    def depth(self) -> int:
        """Return how many frames at most are decoded before a frame that is shown before them."""
        return reorder_depth(self.at)

    @property
    def nominal(self) -> Fraction:
        """Return frames per second; an estimate where the rate varies."""
        return self.rate or 1 / (self.typical * self.unit)


@dataclass(frozen=True, eq=False)
class Audio:
    """Loaded audio packets; packet n starts at tick `at[n]` of the sample rate, tick 0 being stream time `base`."""

    config: TrackConfig
    table: SampleTable
    at: Int64s
    base: Fraction

    @cached_property
    def usual(self) -> int:
        """Return a packet's usual duration, in ticks."""
        return int(np.median(self.table.duration))

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """Return the parts of stream time without holes longer than a packet, in order."""
        ends = self.at + self.table.duration
        holes = np.flatnonzero(self.at[1:] - ends[:-1] > self.usual + self.usual // 2) + 1
        rate = self.config.timescale
        return tuple(
            Stretch(self.base + Fraction(int(self.at[first]), rate), self.base + Fraction(int(ends[end - 1]), rate))
            for first, end in pairwise((0, *holes.tolist(), len(self.at)))
        )


@dataclass(frozen=True, eq=False)
class Piece:
    """Adjacent segments of one run, loaded; times are stream time in seconds.

    `audio` is the first sound track, which counts for holes and gaps; `further` are the others.
    """

    session: str
    start: Fraction
    end: Fraction
    video: Video | None
    audio: Audio | None
    files: tuple[Path, ...] = field(repr=False)
    further: tuple[Audio, ...] = field(default=(), repr=False)

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """Return the parts of stream time that have pictures, sound, or both."""
        tracks = (self.video, self.audio)
        return joined(stretch for track in tracks if track is not None for stretch in track.stretches)


def joined(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Join stretches, of any tracks, between which there is no hole."""
    found: list[Stretch] = []
    for stretch in sorted(stretches):
        if found and stretch.start - found[-1].end <= HOLE:
            found[-1] = Stretch(found[-1].start, max(found[-1].end, stretch.end))
        else:
            found.append(stretch)
    return tuple(found)


def reorder_depth(shown: Int64s) -> int:
    """Return the reorder depth of frames in decode order, given their presentation times."""
    if not len(shown):
        return 0
    rank = np.empty(len(shown), np.int64)
    rank[np.argsort(shown, kind="stable")] = np.arange(len(shown))
    return max(int((np.arange(len(shown)) - rank).max()), 0)


def same_stream(one: TrackConfig, other: TrackConfig) -> bool:
    """Return whether samples of two tracks can follow each other in one track with the same decoder configuration."""
    return one is other or _key(one) == _key(other)


def _key(config: TrackConfig) -> tuple[object, ...]:
    if config.codec in FRAME_CODECS:  # key frames bring their own headers: only what the entry says must agree
        return config.codec, form_of(config)._replace(level=0, tier=0)
    size = (config.width, config.height) if config.kind == "video" else (config.timescale, config.channels)
    return config.codec, *size, codec_record(config)
