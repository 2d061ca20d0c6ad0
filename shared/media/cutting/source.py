"""What a clip is cut from: runs of recorded segments, and their samples once loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from shared.media.model import Int64s, SampleTable, TrackConfig
from shared.media.mp4.entries import codec_record


@dataclass(frozen=True, slots=True)
class Segment:
    """A recorded segment; `start` and `duration` are ticks of the video track (audio's where there is none)."""

    path: Path
    start: int
    duration: int


@dataclass(frozen=True, slots=True)
class Run:
    """Segments of one session that share an init segment; `origin` is the stream time of tick 0, in seconds."""

    init: Path
    segments: tuple[Segment, ...]
    origin: Fraction
    session: str = ""


@dataclass(frozen=True, slots=True)
class CutSource:
    """A recording, or the part of one that a clip may need: runs in order of stream time."""

    runs: tuple[Run, ...]


@dataclass(frozen=True, eq=False)
class Video:
    """Loaded video samples. Frame n (decode order) is shown at `base` + `at[n]` * `unit` seconds of stream time.

    On a steady rate (`rate`) a unit is a frame, otherwise a tick.
    """

    config: TrackConfig
    table: SampleTable
    at: Int64s
    unit: Fraction
    base: Fraction
    rate: Fraction | None

    def time(self, at: int) -> Fraction:
        """Turn a position into stream time."""
        return self.base + at * self.unit

    @cached_property
    def typical(self) -> int:
        """A frame's usual duration, in units."""
        if self.rate is not None:
            return 1
        steps = np.diff(np.sort(self.at))
        return max(int(np.median(steps)), 1) if len(steps) else max(int(self.table.duration[0]), 1)

    @cached_property
    def depth(self) -> int:
        """How many frames at most are decoded before a frame that is shown before them."""
        return reorder_depth(self.at)

    @property
    def nominal(self) -> Fraction:
        """Frames per second, or the nearest thing to it where the rate varies."""
        return self.rate or 1 / (self.typical * self.unit)


@dataclass(frozen=True, eq=False)
class Audio:
    """Loaded audio packets; packet n starts at tick `at[n]` of the sample rate, tick 0 being stream time `base`."""

    config: TrackConfig
    table: SampleTable
    at: Int64s
    base: Fraction


@dataclass(frozen=True, eq=False)
class Piece:
    """Adjacent segments of one run, loaded; times are stream time in seconds."""

    session: str
    start: Fraction
    end: Fraction
    video: Video | None
    audio: Audio | None
    files: tuple[Path, ...] = field(repr=False)


def reorder_depth(shown: Int64s) -> int:
    """Tell the reorder depth of frames in decode order, given their presentation times."""
    if not len(shown):
        return 0
    rank = np.empty(len(shown), np.int64)
    rank[np.argsort(shown, kind="stable")] = np.arange(len(shown))
    return max(int((np.arange(len(shown)) - rank).max()), 0)


def same_stream(one: TrackConfig, other: TrackConfig) -> bool:
    """Tell whether samples of two tracks can follow each other in one, decoded alike."""
    return one is other or _key(one) == _key(other)


def _key(config: TrackConfig) -> tuple[object, ...]:
    size = (config.width, config.height) if config.kind == "video" else (config.timescale, config.channels)
    return config.codec, *size, codec_record(config)
