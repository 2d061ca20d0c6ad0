"""Sound, decoded and converted to one layout and rate: samples by the start of their stretch without a hole."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

from shared.media.transcode.decoder import SoundDecoder
from shared.media.transcode.sound_run import Samples
from shared.media.transcode.streams import FLICKS, Packet

_CONTIGUOUS = FLICKS * 40 // 1000


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples that begin `count` samples after `stretch`, a time in flicks."""

    stretch: int
    count: int
    samples: Samples


class Resampled:
    """Decodes sound into planar floats of one layout and rate."""

    def __init__(self, decoder: SoundDecoder, layout: str, rate: int) -> None:
        self._decoder, self._layout, self._rate = decoder, layout, rate
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._expected: int | None = None
        self._stretch = 0
        self._count = 0

    def push(self, packet: Packet) -> list[Piece]:
        """Decode a packet."""
        pieces: list[Piece] = []
        for frame in self._decoder.push(packet):
            at = frame.pts if frame.pts is not None else packet.pts
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self._expected is None or abs(at - self._expected) > _CONTIGUOUS or form != self._form:
                pieces += self.finish()
                self._form = form
                self._stretch = self._expected = at
                self._count = 0
            self._expected += frame.samples * FLICKS // (frame.sample_rate or self._rate)
            pieces += self._resample(frame)
        return pieces

    def finish(self) -> list[Piece]:
        """Return the samples that the resampler holds, and end the stretch."""
        if self._resampler is None:
            return []
        pieces = self._resample(None)
        self._resampler = None
        return pieces

    def _resample(self, frame: av.AudioFrame | None) -> list[Piece]:
        if self._resampler is None:
            self._resampler = av.AudioResampler("fltp", self._layout, self._rate)
        if frame is not None:
            frame.pts = None
        pieces: list[Piece] = []
        for part in self._resampler.resample(frame):
            pieces.append(Piece(self._stretch, self._count, part.to_ndarray().astype(np.float32, copy=False)))
            self._count += part.samples
        return pieces
