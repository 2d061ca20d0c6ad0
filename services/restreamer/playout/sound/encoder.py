"""Encoding sound as one run of samples over any number of parts."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

from services.restreamer.model import FLICKS, Track
from services.restreamer.playout.reading.shape import AUDIO_ENCODERS, Shape
from services.restreamer.playout.sound.lane import Lane
from shared.media.seams.errors import CutError

Samples = npt.NDArray[np.float32]
"""Planar: a row per channel."""

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# Samples by which what a decoder gives lags behind what the encoder was given, at its own sample rate.
_DELAYS = {"aac": 1024, "mp3": 1105, "opus": 312}
# A channel. With 64 kbps FFmpeg's AAC encoder breaks up in pure tones, such as broadcasters line up with.
_BITRATE = 128_000
_FORMATS = {"aac": "fltp", "mp3": "fltp", "opus": "flt"}


class SoundRun:
    """Puts encoded packets into a lane, without a hole, from the lane's end on. CutError, FFmpegError."""

    def __init__(self, shape: Shape, lane: Lane) -> None:
        self.shape, self._lane = shape, lane
        self.rate = shape.sample_rate
        self._start = lane.end
        self._written = 0
        context = av.CodecContext.create(AUDIO_ENCODERS[shape.audio], "w")
        assert isinstance(context, av.AudioCodecContext)  # noqa: S101  an audio encoder's
        self.layout = LAYOUTS[shape.channels]
        context.sample_rate, context.layout, context.format = self.rate, self.layout, _FORMATS[shape.audio]
        context.bit_rate = _BITRATE * shape.channels
        context.time_base = Fraction(1, self.rate)
        context.flags |= Flags.global_header | Flags.bitexact
        if shape.audio == "mp3":
            context.options = {"reservoir": "0"}
        context.open()
        self._context = context
        self._size = context.frame_size
        if not self._size:
            raise CutError(f"the encoder for {shape.audio} has no frames")
        # Samples of silence that bring the first sample to the beginning of a packet.
        self._lead = -_DELAYS[shape.audio] % self._size
        self._pushed = 0
        self._packets = 0
        self._rest: Samples = np.zeros((shape.channels, self._lead), np.float32)
        extra = bytes(context.extradata or b"")
        config = extra if shape.audio in ("aac", "opus") else b""
        self.track = Track("audio", shape.audio, config, sample_rate=self.rate, channels=shape.channels)

    def position(self, out: int) -> int:
        """Turn an output time into a sample's number."""
        return ((out - self._start) * self.rate + FLICKS // 2) // FLICKS

    def write(self, position: int, samples: Samples) -> None:
        """Put samples at a position: silence before it where nothing was written, without what was."""
        self.pad(position)
        samples = samples[:, max(self._written - position, 0) :]
        if samples.shape[1]:
            self._feed(samples)

    def pad(self, position: int) -> None:
        """Write silence up to a position."""
        missing = position - self._written
        if missing > 0:
            self._feed(np.zeros((self.shape.channels, missing), np.float32))

    def finish(self) -> None:
        """Encode all that was written, up to a whole packet."""
        wanted = -(-self._written // self._size)
        if self._rest.shape[1]:
            self._feed(np.zeros((self.shape.channels, self._size - self._rest.shape[1]), np.float32))
        late: list[av.Packet[av.AudioStream]] = []
        if self._packets < wanted:
            self._push(np.zeros((self.shape.channels, self._size), np.float32))
            late = self._context.encode(None)
        self._take(late, wanted)

    def _feed(self, samples: Samples) -> None:
        self._written += samples.shape[1]
        data = np.concatenate((self._rest, samples), axis=1)
        whole = data.shape[1] // self._size * self._size
        for at in range(0, whole, self._size):
            self._push(data[:, at : at + self._size])
        self._rest = data[:, whole:]

    def _push(self, samples: Samples) -> None:
        packed = samples.T.reshape(1, -1) if _FORMATS[self.shape.audio] == "flt" else samples
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(packed), format=_FORMATS[self.shape.audio], layout=self.layout
        )
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self._pushed, Fraction(1, self.rate)
        self._pushed += self._size
        self._take(self._context.encode(frame))

    def _take(self, packets: Iterable[av.Packet[av.AudioStream]], most: int | None = None) -> None:
        """Put packets into the lane, without those that hold only what was before the first sample."""
        for packet in packets:
            if (packet.pts or 0) < self._lead or (most is not None and self._packets >= most):
                continue
            self._packets += 1
            self._lane.append(bytes(packet), self._size * FLICKS // self.rate)
