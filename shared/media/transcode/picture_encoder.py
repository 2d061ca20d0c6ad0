"""Encoding pictures faster than they play: a keyframe every two seconds, little delay, bounded threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from shared.media.bitstream.nal import encoder_nals, join_sample
from shared.media.bitstream.params import build_avcc, build_hvcc, nal_type, set_types, split_annexb
from shared.media.tracks import VideoCodec
from shared.media.transcode.colours import LIMITED, Colours
from shared.media.transcode.errors import TranscodeError
from shared.media.transcode.shape import VIDEO_ENCODERS, Shape
from shared.media.transcode.streams import Track

_NAL_CODECS: dict[str, VideoCodec] = {"h264": "h264", "hevc": "hevc"}
KEYFRAME_SECONDS = 2
ENCODE_THREADS = 2
_LEAST, _MOST = 300_000, 12_000_000
_BITS_PER_PIXEL = Fraction(1, 12)
_REORDERED_FROM = Fraction(15)
"""Frames per second from which a B-frame delays pictures by at most 160 ms."""


@dataclass(frozen=True, slots=True)
class Coded:
    """An encoded picture; `slot` is its frame's number."""

    slot: int
    key: bool
    data: bytes


class PictureEncoder:
    """Encodes frames of a steady rate, starting with a keyframe. TranscodeError, FFmpegError."""

    def __init__(self, shape: Shape, colours: Colours) -> None:
        self._shape = shape
        self.pixels = pixels_of(shape)
        context = av.CodecContext.create(VIDEO_ENCODERS[shape.video], "w")
        if not isinstance(context, av.VideoCodecContext):
            raise TranscodeError(f"no encoder for {shape.video}")
        context.width, context.height, context.pix_fmt = shape.width, shape.height, self.pixels
        context.framerate, context.time_base = shape.rate, 1 / shape.rate
        context.sample_aspect_ratio = shape.aspect
        context.color_range, context.colorspace = LIMITED, colours.matrix
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        bitrate = shape.bitrate or usual_bitrate(shape)
        context.bit_rate = bitrate
        context.gop_size = max(round(KEYFRAME_SECONDS * shape.rate), 1)
        context.thread_count = ENCODE_THREADS
        context.flags |= Flags.global_header | Flags.closed_gop
        context.options = _options(shape, bitrate, context.gop_size)
        context.open()
        self._context = context
        self._nal_codec: VideoCodec | None = _NAL_CODECS.get(shape.video)
        self.track = self._track(bytes(context.extradata or b""))

    def push(self, slot: int, frame: av.VideoFrame) -> Iterator[Coded]:
        """Encode the next frame in order of presentation; yield finished pictures."""
        frame.pict_type = PictureType.I if slot == 0 else PictureType.NONE
        frame.pts, frame.time_base = slot, 1 / self._shape.rate
        return map(self._coded, self._context.encode(frame))

    def finish(self) -> Iterator[Coded]:
        """Yield all remaining pictures."""
        return map(self._coded, self._context.encode(None))

    def _coded(self, packet: av.Packet[av.VideoStream]) -> Coded:
        if packet.pts is None:
            raise TranscodeError("encoder lost a picture's time")
        data = bytes(packet)
        if self._nal_codec is not None:
            data = join_sample(encoder_nals(self._nal_codec, split_annexb(data)), 4)
        return Coded(packet.pts, packet.is_keyframe, data)

    def _track(self, extra: bytes) -> Track:
        shape, codec = self._shape, self._nal_codec
        config = b""
        if codec is not None:
            sets = [nal for nal in split_annexb(extra) if nal_type(codec, nal) in set_types(codec)]
            config = build_avcc(sets) if codec == "h264" else build_hvcc(sets)
        return Track(
            "video", shape.video, config, shape.width, shape.height, self.pixels, shape.rate,
            aspect=shape.aspect, own_aspect=shape.aspect,
        )  # fmt: skip


def usual_bitrate(shape: Shape) -> int:
    """Return the default bit rate, bit/s."""
    return min(max(int(shape.width * shape.height * shape.rate * _BITS_PER_PIXEL), _LEAST), _MOST)


def pixels_of(shape: Shape) -> str:
    """Return the pixel format that a shape is encoded in."""
    formats = av.codec.Codec(VIDEO_ENCODERS[shape.video], "w").video_formats or ()
    return shape.pixels if shape.pixels in {form.name for form in formats} else "yuv420p"


def depth_of(shape: Shape) -> int:
    """Return how many pictures at most are out of order."""
    return 1 if shape.video in ("h264", "hevc") and shape.rate >= _REORDERED_FROM else 0


def _options(shape: Shape, bitrate: int, gop: int) -> dict[str, str]:
    top = {"maxrate": str(bitrate), "bufsize": str(2 * bitrate)}
    if shape.video == "h264":
        parameters = f"annexb=1:force-cfr=1:scenecut=0:keyint={gop}:min-keyint={gop}:rc-lookahead=10:b-pyramid=none"
        parameters += f":bframes={depth_of(shape)}:sync-lookahead=0"
        return {"preset": "superfast", "x264-params": parameters, **top}
    if shape.video == "hevc":
        parameters = f"log-level=none:info=0:open-gop=0:scenecut=0:keyint={gop}:min-keyint={gop}:rc-lookahead=10"
        parameters += f":bframes={depth_of(shape)}:b-pyramid=0:pools={ENCODE_THREADS}:frame-threads=1"
        rates = f":vbv-maxrate={bitrate // 1000}:vbv-bufsize={2 * bitrate // 1000}"
        return {"preset": "ultrafast", "x265-params": parameters + rates}
    options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0", **top}
    return {**options, "row-mt": "1"} if shape.video == "vp9" else options
