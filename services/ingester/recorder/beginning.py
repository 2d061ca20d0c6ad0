"""Where a session starts: frames wait until the tracks that are expected have shown themselves."""

from __future__ import annotations

from collections import deque

from services.ingester.publication import VIDEO_SCALE, Arrival, Frame
from services.ingester.recorder.cuts import ticks
from services.ingester.recorder.model import RecorderLimits
from shared.media.preroll import preroll
from shared.media.tracks import TrackConfig

LEAST_PREROLL = 2
"""This many packets before the first picture are kept in any case."""


class Beginning:
    """The frames of a session that has not started, of its pictures and its first sound track."""

    def __init__(self, limits: RecorderLimits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[Frame, Arrival]] = deque()
        self._bytes = 0
        self.no_entry = 0
        """Pictures before the first one at which decoding can start."""

    def add(self, frame: Frame, arrival: Arrival) -> bool:
        """Take a frame; return whether no more may wait."""
        self._waiting.append((frame, arrival))
        self._bytes += len(frame.payload)
        return self._bytes > self._limits.undecided_bytes

    def take(self) -> deque[tuple[Frame, Arrival]]:
        """Return the frames that have waited, as the session starts."""
        waiting, self._waiting = self._waiting, deque()
        return waiting

    @property
    def audio(self) -> TrackConfig | None:
        """The newest sound's description."""
        return next((f.config for f, _ in reversed(self._waiting) if f.config.kind == "audio"), None)

    def origin(self, *, expects_video: bool, expects_audio: bool, lacks: bool) -> tuple[Frame, Arrival] | None:
        """Return the frame that the session starts with; None while it still waits.

        `lacks`: further sound tracks are expected that have not come; they are waited for as the first one is.
        """
        newest, arrival = self._waiting[-1] if self._waiting else (None, None)
        if newest is None or arrival is None:
            return None
        keys = (w for w in self._waiting if w[0].config.kind == "video" and w[0].sync)
        first_key = next(keys, None)
        if first_key is None and newest.config.kind == "video":
            self._waiting.pop()  # cannot be decoded
            self.no_entry += 1
            newest, arrival = self._waiting[-1] if self._waiting else (newest, arrival)
        sound = next((w for w in self._waiting if w[0].config.kind == "audio"), None)
        patience = ticks(self._limits.first_audio)
        if first_key is not None:
            complete = (sound is not None and not lacks) or not expects_audio
            return first_key if complete or _waited(first_key, newest, arrival) >= patience else None
        if sound is not None:
            patience = ticks(self._limits.first_video) if expects_video else patience if lacks else 0
            return sound if _waited(sound, newest, arrival) >= patience else None
        return None

    def sound_before(self, first: Frame) -> int:
        """Return how much audio before the first picture (90 kHz) is kept as preroll for the audio decoder."""
        audio = self.audio
        before = [f for f, _ in self._waiting if f.config is audio and f.dts < first.dts]
        if audio is None or first.config.kind == "audio" or not before:
            return 0
        packet = before[-1].duration * VIDEO_SCALE // audio.timescale
        smallest = min(len(f.payload) for f in before)
        most = packet * max(preroll(audio, max(before[-1].duration, 1), smallest), LEAST_PREROLL)
        kept = [first.dts - f.dts for f in before if first.dts - f.dts <= most + packet]
        return max(kept, default=0)


def _waited(since: tuple[Frame, Arrival], newest: Frame, arrival: Arrival) -> int:
    """Return how long ago a frame came, by its time stamp or by the clock (90 kHz), whichever is longer."""
    frame, came = since
    return max(newest.dts - frame.dts, (arrival.ns - came.ns) * 9 // 100_000)
