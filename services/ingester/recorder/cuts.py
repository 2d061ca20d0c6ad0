"""Segment boundaries, and the tracks that segments contain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from services.ingester.publication import VIDEO_SCALE
from shared.media.mp4.fragments import Sample
from shared.media.tracks import TrackConfig

NEAR = VIDEO_SCALE // 10
"""A gap of more than this between a segment's last sample and the next segment means missing content."""

MOST_EARLY = 20
"""So many segments in a row may end before their time because the stream changes."""


def ticks(duration: timedelta) -> int:
    """Convert a duration to 90 kHz ticks."""
    return duration // timedelta(microseconds=1) * VIDEO_SCALE // 1_000_000


@dataclass(frozen=True, slots=True)
class Tracks:
    """The tracks of the segments from now on, and their init number; `further` are the sound tracks after the first."""

    number: int
    video: TrackConfig | None
    audio: TrackConfig | None
    further: tuple[TrackConfig, ...] = ()

    @property
    def all(self) -> tuple[TrackConfig, ...]:
        """The tracks present, video first."""
        return tuple(track for track in (self.video, self.audio, *self.further) if track is not None)

    @property
    def scale(self) -> int:
        """The timescale of segments: that of the video, or of the audio when there is no video."""
        return VIDEO_SCALE if self.video or self.audio is None else self.audio.timescale

    def audio_ticks(self, at: int) -> int:
        """Convert 90 kHz ticks to audio ticks, rounded up."""
        return -(-at * self.audio.timescale // VIDEO_SCALE) if self.audio else 0

    def ticks(self, at: int) -> int:
        """Convert 90 kHz ticks to the segments' timescale."""
        return at if self.scale == VIDEO_SCALE else self.audio_ticks(at)


@dataclass(frozen=True, slots=True)
class Cut:
    """A segment starts at `start` (90 kHz); the previous one, and its last video frame, end at `end`.

    `paused`: nothing was sent between `end` and `start`. `clean`: the first picture, if any, is an IDR or IRAP picture.
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
        """Where the previous segment's audio ends; later audio belongs to the new segment."""
        return (self.end + self.start) // 2 if self.paused else self.start


def split_at_gaps(samples: list[Sample]) -> list[list[Sample]]:
    """Split samples wherever one does not start where the last one ended."""
    runs: list[list[Sample]] = []
    end: int | None = None
    for sample in samples:
        if sample.dts != end:
            runs.append([])
        runs[-1].append(sample)
        end = sample.dts + sample.duration
    return runs


class EarlyCuts:
    """Lets changes of a stream end segments before their time; a stream that changes all the time, at its pace alone.

    Each segment that is cut in time allows one more early cut, up to `MOST_EARLY`.
    """

    def __init__(self) -> None:
        self._left = MOST_EARLY

    def cut(self, *, due: bool) -> bool:
        """Return whether a segment may end, being `due` or because of a change; count it then."""
        if not due and self._left == 0:
            return False
        self._left = min(self._left + 1, MOST_EARLY) if due else self._left - 1
        return True
