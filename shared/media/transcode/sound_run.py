"""Encoding sound as one run of samples, over any number of files and holes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

from shared.media.transcode.errors import TranscodeError
from shared.media.transcode.shape import AUDIO_ENCODERS, Shape
from shared.media.transcode.streams import FLICKS, Track

Samples = npt.NDArray[np.float32]
"""Planar: a row per channel."""

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# Delay from the encoder's input to the decoder's output in samples, at the codec's own sample rate.
_DELAYS = {"aac": 1024, "mp3": 1105, "opus": 312}
# Per channel. At 64 kbps FFmpeg's AAC encoder breaks up in pure tones, such as broadcasters' line-up tones.
_BITRATE = 128_000
_FORMATS = {"aac": "fltp", "mp3": "fltp", "opus": "flt"}


class SoundRun:
    """Encodes sound that begins at `start` (flicks); calls `put` with each packet and its duration, in order.

    TranscodeError, FFmpegError.
    """

    def __init__(self, shape: Shape, start: int, put: Callable[[bytes, int], None]) -> None:
        self.shape, self._start, self._put = shape, start, put
        self.rate = shape.sample_rate
        self._written = 0
        self.layout = LAYOUTS[shape.channels]
        self._context = open_sound_encoder(shape.audio, self.rate, self.layout, _BITRATE * shape.channels)
        self._size = self._context.frame_size
        if not self._size:
            raise TranscodeError(f"the encoder for {shape.audio} has no frames")
        # Samples of silence that move the first sample to the beginning of a packet.
        self._lead = -_DELAYS[shape.audio] % self._size
        self._pushed = 0
        self._packets = 0
        self._rest: Samples = np.zeros((shape.channels, self._lead), np.float32)
        extra = bytes(self._context.extradata or b"")
        config = extra if shape.audio in ("aac", "opus") else b""
        self.track = Track("audio", shape.audio, config, sample_rate=self.rate, channels=shape.channels)

    def position(self, at: int) -> int:
        """Convert a time (flicks) to a sample's number."""
        return ((at - self._start) * self.rate + FLICKS // 2) // FLICKS

    def write(self, position: int, samples: Samples) -> None:
        """Write samples at a position: fill a hole before it with silence, and drop samples that overlap."""
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
        """Encode all remaining samples, padded to a whole packet."""
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
        """Pass on packets, except those from before the first sample."""
        for packet in packets:
            if (packet.pts or 0) < self._lead or (most is not None and self._packets >= most):
                continue
            self._packets += 1
            self._put(bytes(packet), self._size * FLICKS // self.rate)


def open_sound_encoder(codec: str, rate: int, layout: str, bitrate: int) -> av.AudioCodecContext:
    """Open an encoder of `shape.AUDIO_ENCODERS` that writes no signature. TranscodeError, FFmpegError.

    It takes floats, planar except for Opus.
    """
    context = av.CodecContext.create(AUDIO_ENCODERS[codec], "w")
    if not isinstance(context, av.AudioCodecContext):
        raise TranscodeError(f"no encoder for {codec}")
    context.sample_rate, context.layout, context.format = rate, layout, _FORMATS[codec]
    context.bit_rate = bitrate
    context.time_base = Fraction(1, rate)
    context.flags |= Flags.global_header | Flags.bitexact
    if codec == "mp3":
        context.options = {"reservoir": "0"}
    context.open()
    return context
