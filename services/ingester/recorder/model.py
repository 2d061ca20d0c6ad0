"""What the recorder takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

PathOf = Callable[[str], Path]
"""Gives the path to write `init-<n>.mp4` or `<sequence>.m4s` to; its folder exists."""


class Sink(Protocol):
    """Hears of a session's progress, in the recorder's thread; what it raises ends the recording."""

    def started(self, first_frame_ms: int, lead: int) -> None:
        """Tell the wall clock (ms) of the session's first frame and its tick, once, before the first segment.

        Before that tick (90 kHz) lies sound that a decoder needs to begin with.
        """
        ...

    def segment(self, info: SegmentInfo) -> None:
        """Take a segment that lies whole on disk; its init segment does too."""
        ...


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A whole segment. `start`, `duration` and `keyframes` are ticks of `timescale` on the session's time line.

    The timescale is the video's, or the audio's where the init segment has no video. `keyframes` are presentation
    times; a segment without one first is not to be entered. `discontinuity`: it does not continue the one before.
    `independent`: it does not begin at a recovery point, whose pictures may need some from before.
    """

    sequence: int
    path: Path
    init_number: int
    first_of_init: bool
    start: int
    duration: int
    timescale: int
    wall_start_ms: int
    bytes: int
    sha256: str
    keyframes: tuple[int, ...] = ()
    discontinuity: bool = False
    timecode: str | None = None
    independent: bool = True


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """How segments are cut, and what is waited for."""

    target: timedelta = timedelta(seconds=2)
    """A segment ends at the first keyframe after so long."""
    part: timedelta = timedelta(milliseconds=500)
    """What is written at once, and lost when the process is killed."""
    longest: timedelta = timedelta(seconds=20)
    """A segment without a further keyframe ends after so long all the same."""
    largest: int = 64 << 20
    """Likewise in bytes."""
    part_bytes: int = 8 << 20
    """A part of so many bytes is written before its time."""
    audio_wait: timedelta = timedelta(milliseconds=500)
    """How far video may run ahead of a segment's end before the segment closes without its last audio."""
    absent: timedelta = timedelta(seconds=2)
    """A track so far behind the other one is not waited for."""
    first_video: timedelta = timedelta(seconds=10)
    """How long audio waits for the first keyframe of an announced video track."""
    first_audio: timedelta = timedelta(seconds=1)
    """How long video waits for the first frame of an announced audio track. One that comes later joins it then."""
    still: timedelta = timedelta(seconds=10)
    """A picture may stand still for so long before segments are cut by the sound alone."""
    hole: timedelta = timedelta(seconds=2)
    """Missing content longer than this (and than ten frames) is a hole when a keyframe follows it."""
    jump: timedelta = timedelta(seconds=2)
    """Timestamps that run ahead of time by more than this have jumped."""
    undecided_bytes: int = 16 << 20
    """So many bytes of frames wait for what may come, and no longer."""


@dataclass(slots=True)
class Summary:
    """How a recording went."""

    segments: int = 0
    bytes: int = 0
    damaged: int = 0
    jumps: int = 0
    unsupported: frozenset[str] = field(default_factory=frozenset)
