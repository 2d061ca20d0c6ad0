"""Pictures for a file of sound alone: its cover, or black (ADR 14)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol, runtime_checkable

import av
import numpy as np

from services.restreamer.model import FLICKS, Media, Packet, Track
from services.restreamer.playout.reading.evener import LONGEST_HOLE
from services.restreamer.playout.reading.verdict import STILL_SIZE, USUAL_RATE
from services.restreamer.playout.terms import DecodedPicture
from services.restreamer.sources.ranges import from_wall

_EVERY = FLICKS // 4


@runtime_checkable
class Covered(Protocol):
    """A file that may have a cover."""

    cover: DecodedPicture | None


class StillMedia:
    """A file of sound alone, with a still picture for as long as the sound lasts."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self.audio, self.duration, self.wall_start_ms = media.audio, media.duration, media.wall_start_ms
        self.resumes: int | None = None
        frame = _frame(media)
        self._data = frame.to_ndarray().tobytes()
        self.video: Track | None = Track(
            "video", "rawvideo", b"", frame.width, frame.height, "rgb24", USUAL_RATE, colours=(2, 0, 2, 2)
        )

    def packets(self, start: int) -> Iterator[Packet]:
        """Yield the sound, and the picture every quarter of a second before the sound that it goes with."""
        self.resumes = None
        at = end = start
        for packet in self._media.packets(start):
            if packet.dts - end > LONGEST_HOLE:
                at = packet.dts  # a hole is closed, as it is in files with pictures
            while at <= packet.dts:
                yield self._picture(at)
                at += _EVERY
            end = max(end, packet.pts + packet.duration)
            self.audio = self._media.audio
            yield packet
        self.audio, self.resumes = self._media.audio, self._media.resumes
        last = at - _EVERY
        if at > start and end > last:
            yield self._picture((last + end) // 2)  # it lasts as long as the one before it did

    def from_wall(self, wall_ms: int, *, out: bool) -> int:
        """Return the time of a wall-clock moment by the sound's clock. SourceError."""
        return from_wall(self._media, wall_ms, out=out)

    def close(self) -> None:
        """Close the file."""
        self._media.close()

    def _picture(self, at: int) -> Packet:
        return Packet("video", at, at, _EVERY, key=True, data=self._data)


def _frame(media: Media) -> av.VideoFrame:
    cover = media.cover if isinstance(media, Covered) else None
    if cover is None:
        return av.VideoFrame.from_ndarray(np.zeros((36, 64, 3), np.uint8), format="rgb24")
    frame = av.VideoFrame.from_ndarray(cover.pixels, format="rgba")
    factor = min(Fraction(STILL_SIZE[0], frame.width), Fraction(STILL_SIZE[1], frame.height), Fraction(1))
    wide, high = max(int(frame.width * factor), 1), max(int(frame.height * factor), 1)
    return frame.reformat(width=wide, height=high, format="rgb24")
