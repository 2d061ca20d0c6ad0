"""Decoding pictures and sound: past damage, and within limits, since files may be untrusted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from shared.media.transcode.errors import Undecodable
from shared.media.transcode.streams import Packet, Track

DECODE_THREADS = 2
LARGEST_SIDE = 16_384
MOST_PIXELS = 35_651_584
LONGEST_PIXEL = 8
"""Pixels are at most so many times as long as they are short; beyond that it is no picture for people."""
"""Per picture: as in H.264's and VP9's highest levels, 8K with room (H.264 table A-1, 6.2)."""
MOST_CHANNELS = 64
FASTEST = 768_000
MOST_SAMPLES = 1 << 20
"""Per frame of sound, in each channel."""
LARGEST_PACKET = 64 << 20
_BOUNDS = {"max_pixels": str(MOST_PIXELS), "max_samples": str(MOST_SAMPLES)}
"""FFmpeg applies them when the coded data disagree with their container (libavcodec/options_table.h)."""
_DECODERS = {"av1": "libdav1d"}  # FFmpeg's own decoder of that name needs hardware


class PictureDecoder:
    """Yields frames in order of presentation, their `pts` in flicks. Undecodable without a decoder for the codec."""

    def __init__(self, track: Track) -> None:
        self._context = picture_decoder(track)
        with _undecodable(track):
            self._context.open(strict=False)
        self._told = track.aspect if track.aspect != track.own_aspect else None
        self.damaged = 0

    def push(self, packet: Packet) -> Iterator[av.VideoFrame]:
        """Decode the next packet."""
        if len(packet.data) > LARGEST_PACKET:
            self.damaged += 1
            return iter(())
        coded = av.Packet(packet.data)
        coded.pts, coded.dts, coded.is_keyframe = packet.pts, packet.dts, packet.key
        return self._decode(coded)

    @property
    def aspect(self) -> Fraction:
        """Return the pixels' aspect: the container's if it has another one, otherwise that of the pictures."""
        return self._told or self._context.sample_aspect_ratio or Fraction(1)

    def finish(self) -> Iterator[av.VideoFrame]:
        """Return the frames that the decoder still holds."""
        return self._decode(None)

    def _decode(self, coded: av.Packet[Any] | None) -> Iterator[av.VideoFrame]:
        try:
            frames = self._context.decode(coded)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            self.damaged += 1  # later pictures may still be whole
            return
        yield from (frame for frame in frames if frame.pts is not None)


class SoundDecoder:
    """Decodes sound, past packets that cannot be decoded. Undecodable without a decoder for the codec."""

    def __init__(self, track: Track) -> None:
        self._context = sound_decoder(track)
        with _undecodable(track):
            self._context.open(strict=False)

    def push(self, packet: Packet) -> list[av.AudioFrame]:
        """Decode the next packet."""
        if len(packet.data) > LARGEST_PACKET:
            return []
        coded = av.Packet(packet.data)
        coded.pts = coded.dts = packet.pts
        try:
            return self._context.decode(coded)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            return []


def check(track: Track) -> None:
    """Raise Undecodable for a track beyond the limits."""
    if max(track.width, track.height) > LARGEST_SIDE or track.width * track.height > MOST_PIXELS:
        raise Undecodable(
            f"its pictures have {track.width}x{track.height} pixels; "
            f"at most {LARGEST_SIDE} a side, and {MOST_PIXELS} in all, are decoded"
        )
    if track.channels > MOST_CHANNELS:
        raise Undecodable(f"its sound has {track.channels} channels; at most {MOST_CHANNELS} are decoded")
    if track.sample_rate > FASTEST:
        raise Undecodable(f"its sound has {track.sample_rate} samples a second; at most {FASTEST} are decoded")


def picture_decoder(track: Track, *, strict: bool = False, threads: int = DECODE_THREADS) -> av.VideoCodecContext:
    """Make a decoder for a track of pictures, which opens with the first packet. Undecodable.

    A `strict` one fails at the first error in a picture, instead of concealing it. `threads` 0: one per CPU.
    """
    with _undecodable(track):
        context = _context(track)
        if not isinstance(context, av.VideoCodecContext):
            raise Undecodable(f"{track.codec} has no pictures")
        # With frame threads FFmpeg's decoders can wait forever on a damaged picture.
        context.thread_type = "SLICE"
        context.thread_count = threads
        context.width, context.height = track.width, track.height
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = track.colours
        if track.bits:
            context.bits_per_coded_sample = track.bits
        if track.codec == "rawvideo":
            context.pix_fmt = track.pixels
        if strict:
            context.options = {**_BOUNDS, "err_detect": "explode"}
        return context


def sound_decoder(track: Track) -> av.AudioCodecContext:
    """Make a decoder for a track of sound, which opens with the first packet. Undecodable."""
    with _undecodable(track):
        context = _context(track)
        if not isinstance(context, av.AudioCodecContext):
            raise Undecodable(f"{track.codec} has no sound")
        if track.sample_rate:
            context.sample_rate = track.sample_rate
        if track.layout:
            context.layout = track.layout
        return context


def _context(track: Track) -> av.CodecContext:
    check(track)
    context = av.CodecContext.create(_DECODERS.get(track.codec, track.codec), "r")
    context.options = dict(_BOUNDS)
    if track.config:
        context.extradata = track.config
    if track.tag:
        context.codec_tag = track.tag
    return context


@contextlib.contextmanager
def _undecodable(track: Track) -> Iterator[None]:
    """Raise Undecodable when FFmpeg refuses the track."""
    try:
        yield
    except (ValueError, av.error.FFmpegError) as error:
        raise Undecodable(f"{track.codec} cannot be decoded") from error
