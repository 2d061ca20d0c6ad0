"""A running recording's counters: plain numbers that its thread writes and others read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from services.ingester.publication import VIDEO_SCALE, Frame
from services.ingester.recorder.names import is_media
from shared.media.segment_files import AUDIO_ID
from shared.media.tracks import TrackConfig

MOST_TRACKS: Final = 8
_LONGEST_STEP: Final = 2 * VIDEO_SCALE
"""A longer step between two frames is a pause or a jump, and is not counted for the frame rate."""


@dataclass(slots=True)
class PublisherStats:
    """Counters of one session. The recording's thread calls `warn` when it finds a track that it cannot record."""

    bytes: int = 0
    video_codec: str = ""
    audio_codec: str = ""
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    frames: int = 0
    keyframes: int = 0
    last_keyframe_ms: int | None = None
    steps: int = 0
    """The number of steps from one picture to the next; `step_ticks` is their sum (90 kHz)."""
    step_ticks: int = 0
    jumps: int = 0
    damaged: int = 0
    sounds: dict[int, TrackConfig] = field(default_factory=dict)
    """The latest sound tracks, by track id; replaced as a whole."""
    unsupported: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    """The kinds of tracks that the container announces, and that can be recorded."""
    warn: Callable[[tuple[str, ...]], None] | None = None
    _last_dts: int | None = None
    _audio: TrackConfig | None = None
    _video: TrackConfig | None = None
    _known: set[str] = field(default_factory=set)

    def take(self, frame: Frame, at_ms: int) -> None:
        """Count a frame that arrived at wall-clock time `at_ms`."""
        config = frame.config
        if config is self._audio:
            return
        if config.kind == "audio":
            if self.sounds.get(config.track_id) is not config:
                self.sounds = {**self.sounds, config.track_id: config}
            if config.track_id > AUDIO_ID:
                return
            self.audio_codec, self.sample_rate, self.channels = config.codec, config.sample_rate, config.channels
            self._audio = config
            return
        if config is not self._video:
            self.video_codec, self.width, self.height = config.codec, config.width, config.height
            self._video = config
        self.frames += 1
        if frame.sync:
            self.keyframes += 1
            self.last_keyframe_ms = at_ms
        if self._last_dts is not None and 0 < frame.dts - self._last_dts < _LONGEST_STEP:
            self.steps += 1
            self.step_ticks += frame.dts - self._last_dts
        self._last_dts = frame.dts

    def meet(self, names: Iterable[str], *, warn: bool = True) -> None:
        """Record tracks that cannot be recorded; call `warn` when there are new ones."""
        if len(self.unsupported) >= MOST_TRACKS:
            return
        self._known |= {name for name in names if is_media(name)}
        found = tuple(sorted(self._known))[:MOST_TRACKS]
        if found != self.unsupported:
            self.unsupported = found
            if warn and self.warn is not None:
                self.warn(found)
