"""Where a segment begins and ends, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.ingester.publication import VIDEO_SCALE
from shared.media.model import TrackConfig
from shared.media.mp4.fragments import Sample

NEAR = VIDEO_SCALE // 10
"""Where a segment's samples end this much before the next one begins, something is missing."""


def ticks(duration: timedelta) -> int:
    """Turn a duration into 90 kHz ticks."""
    return duration // timedelta(microseconds=1) * VIDEO_SCALE // 1_000_000


@dataclass(frozen=True, slots=True)
class Tracks:
    """What segments hold from now on, and under which init number."""

    number: int
    video: TrackConfig | None
    audio: TrackConfig | None

    @property
    def all(self) -> tuple[TrackConfig, ...]:
        """The tracks that there are, video first."""
        return tuple(track for track in (self.video, self.audio) if track is not None)

    @property
    def scale(self) -> int:
        """The timescale of segments: video's, or audio's where there is no video."""
        return VIDEO_SCALE if self.video or self.audio is None else self.audio.timescale

    def audio_ticks(self, at: int) -> int:
        """Turn 90 kHz ticks into the first audio tick not before them."""
        return -(-at * self.audio.timescale // VIDEO_SCALE) if self.audio else 0

    def ticks(self, at: int) -> int:
        """Turn 90 kHz ticks into ticks of the segments' timescale."""
        return at if self.scale == VIDEO_SCALE else self.audio_ticks(at)


@dataclass(frozen=True, slots=True)
class Cut:
    """A segment begins at `start` (90 kHz); the one before it ends at `end`, and so does its last video frame.

    `paused`: nothing was sent between `end` and `start`. `clean`: its first picture, if any, is an IDR or IRAP one.
    """

    start: int
    end: int
    paused: bool
    wall_ms: int
    tracks: Tracks
    discontinuity: bool
    clean: bool = True

    @property
    def sound_until(self) -> int:
        """Where the sound of the segment before it ends; what comes later goes with the new segment."""
        return (self.end + self.start) // 2 if self.paused else self.start


def split_at_gaps(samples: list[Sample]) -> list[list[Sample]]:
    """Split samples wherever one does not begin where the last one ended."""
    runs: list[list[Sample]] = []
    end: int | None = None
    for sample in samples:
        if sample.dts != end:
            runs.append([])
        runs[-1].append(sample)
        end = sample.dts + sample.duration
    return runs
