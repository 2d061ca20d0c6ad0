"""The recorder's input and output types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from shared.messages.media import Timecodes

PathOf = Callable[[str], Path]
"""Returns the path to write `init-<n>.mp4` or `<sequence>.m4s` to; its folder exists."""


class Sink(Protocol):
    """Receives a session's progress, in the recorder's thread; what it raises ends the recording."""

    def started(self, first_frame_ms: int, lead: int) -> None:
        """Take the wall clock (ms) of the session's first frame and its tick, once, before the first segment.

        Before that tick (90 kHz) there is only audio that a decoder needs as preroll.
        """
        ...

    def segment(self, info: SegmentInfo) -> None:
        """Take a segment that is complete on disk, as is its init segment."""
        ...


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A complete segment. `start`, `duration` and `keyframes` are ticks of `timescale` on the session's time line.

    The timescale is that of the video, or of the audio when the init segment has no video. `keyframes` are presentation
    times; playback cannot start in a segment that does not start with one. `discontinuity`: it does not continue the
    previous segment. `independent`: it does not start at a recovery point, whose pictures may refer to earlier ones.
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
    timecodes: Timecodes | None = None
    independent: bool = True


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """How segments are cut, and how long the recorder waits."""

    target: timedelta = timedelta(seconds=2)
    """A segment ends at the first keyframe after this time."""
    part: timedelta = timedelta(milliseconds=500)
    """The amount written at once, and lost when the process is killed."""
    longest: timedelta = timedelta(seconds=20)
    """The longest segment, when no further keyframe comes."""
    largest: int = 64 << 20
    """The same limit in bytes."""
    part_bytes: int = 8 << 20
    """A part of this size is written before its time."""
    audio_wait: timedelta = timedelta(milliseconds=500)
    """How far video may run ahead of a segment's end before the segment closes without its last audio."""
    absent: timedelta = timedelta(seconds=2)
    """A track this far behind the other one is not waited for."""
    first_video: timedelta = timedelta(seconds=10)
    """How long audio waits for the first keyframe of an announced video track."""
    first_audio: timedelta = timedelta(seconds=1)
    """How long video waits for the first frame of an announced audio track. A later audio track joins when it comes."""
    still: timedelta = timedelta(seconds=10)
    """How long a picture may stand still before segments are cut by the audio alone."""
    hole: timedelta = timedelta(seconds=2)
    """Missing content longer than this (and than ten frames) is a hole when a keyframe follows it."""
    jump: timedelta = timedelta(seconds=2)
    """Timestamps that run ahead of the clock by more than this have jumped."""
    undecided_bytes: int = 16 << 20
    """At most so many bytes of frames wait for the session to start."""


@dataclass(slots=True)
class Summary:
    """How a recording went."""

    segments: int = 0
    bytes: int = 0
    damaged: int = 0
    jumps: int = 0
    unsupported: frozenset[str] = field(default_factory=frozenset)
