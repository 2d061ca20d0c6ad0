"""Sound tracks of an MPEG-TS program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.ingester.publication import VIDEO_SCALE, Frame
from services.ingester.recorder.audio import AacSound, AdtsSplitter, opus_duration, opus_track, split_opus
from services.ingester.recorder.framed import Family, FramedSound
from services.ingester.recorder.psi import Stream
from services.ingester.recorder.ts_track import Track
from services.ingester.recorder.unwrap import Unwrapper
from shared.media.mp4.boxes import Mp4Error
from shared.media.tracks import TrackConfig

UNTOLD: Final = "AAC of unknown channels audio"
FAMILIES: Final[dict[str, Family]] = {"mpeg": "mpeg", "ac3": "ac3"}
AUDIO_CODECS: Final = ("aac", "opus", *FAMILIES)


def sound_track(stream: Stream, clock: Unwrapper, give: Callable[[Frame], None]) -> Track:
    """Make the track of a program's sound stream."""
    if stream.codec == "opus":
        return _OpusTrack(opus_track(stream.channels), clock, give)
    if (family := FAMILIES.get(stream.codec)) is not None:
        return _FramedTrack(family, clock, give)
    return _AacTrack(clock, give)


class _AacTrack(Track):
    def __init__(self, clock: Unwrapper, give: Callable[[Frame], None]) -> None:
        super().__init__(clock, give)
        self._splitter = AdtsSplitter()
        self._sound = AacSound()
        self._next: int | None = None

    @property
    def unsupported(self) -> frozenset[str]:
        return frozenset((UNTOLD,) if self._splitter.untold else ())

    def lost(self, *, torn: bool, counted: bool) -> None:  # noqa: ARG002  ended frames are complete
        self._splitter.reset()
        self._next = None

    def end(self) -> None:
        super().end()
        self._hand_over(self._sound.finish())

    def packet(self, pts: int | None, dts: int | None, data: bytes, at: int) -> None:  # noqa: ARG002  sound has none
        continues = self._splitter.is_cut
        try:
            before, frames = self._splitter.split(data[at:])
        except Mp4Error:
            self.damaged += 1
            self._splitter.reset()
            return
        # The time stamp belongs to the first frame that starts here.
        stamp = self._clock.take(pts) if pts is not None and (frames or not continues) else None
        config = self._splitter.config
        if config is None or not frames:
            self._next = self._next if stamp is None else stamp
            return
        self._hand_over(self._sound.configure(config))
        self._time(before, frames, stamp)

    def _time(self, before: int, frames: list[bytes], stamp: int | None) -> None:
        """Assign times to frames, the first of which started in the last packet if `before`; drop untimed frames."""
        step = self._sound.step
        if stamp is None and self._next is not None:
            stamp = round(self._next + before * step)
        if stamp is None:
            self.damaged += 1
            return
        first = self._next if before and self._next is not None else stamp - round(before * step)
        for index, frame in enumerate(frames):
            time = stamp + round((index - before) * step) if index or not before else first
            ready = self._sound.ready(time, frame)
            if ready is not None:
                self._give(ready)
            else:
                self._hand_over(self._sound.wait(time, frame))
        self._next = stamp + round((len(frames) - before) * step)

    def _hand_over(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._give(frame)


class _OpusTrack(Track):
    def __init__(self, config: TrackConfig | None, clock: Unwrapper, give: Callable[[Frame], None]) -> None:
        super().__init__(clock, give)
        self._config = config

    def packet(self, pts: int | None, dts: int | None, data: bytes, at: int) -> None:  # noqa: ARG002  sound has none
        if pts is None or self._config is None:
            return
        time = self._clock.take(pts)
        for packet in split_opus(data[at:]):
            duration = opus_duration(packet)
            if not duration:
                self.damaged += 1
                continue
            self._give(Frame(self._config, time, 0, True, packet, duration))
            time += duration * VIDEO_SCALE // self._config.timescale


class _FramedTrack(Track):
    def __init__(self, family: Family, clock: Unwrapper, give: Callable[[Frame], None]) -> None:
        super().__init__(clock, give)
        self._sound = FramedSound(family)

    @property
    def damage(self) -> int:
        """The number of dropped packets and frames."""
        return self.damaged + self._sound.damaged

    def lost(self, *, torn: bool, counted: bool) -> None:  # noqa: ARG002  ended frames are complete
        for frame in self._sound.finish():
            self._give(frame)
        self._sound.lost()

    def end(self) -> None:
        super().end()
        for frame in self._sound.finish():
            self._give(frame)

    def packet(self, pts: int | None, dts: int | None, data: bytes, at: int) -> None:  # noqa: ARG002  sound has none
        for frame in self._sound.feed(data[at:], None if pts is None else self._clock.take(pts)):
            self._give(frame)
