"""Encodes a picture as JPEG, PNG or WebP."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext

from shared.errors import MediaError
from shared.messages.images import ImageFormat

_ENCODERS: Final[dict[ImageFormat, tuple[str, str]]] = {
    "jpeg": ("mjpeg", "yuvj420p"), "png": ("png", "rgb24"), "webp": ("libwebp", "yuv420p"),
}  # fmt: skip
_COARSEST, _FINEST = 31, 2  # of mjpeg's quantizer scale


def encode_image(pixels: npt.NDArray[np.uint8], form: ImageFormat, quality: int) -> bytes:
    """Return a file with a picture of height x width x RGB; `quality` from 1 to 100, not used for PNG. MediaError."""
    name, coded = _ENCODERS[form]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    if form != "png":
        full = form == "jpeg"  # JFIF: BT.601 in full range; WebP: BT.601 in limited range (RFC 6386)
        frame = frame.reformat(format=coded, dst_colorspace="ITU601", dst_color_range="JPEG" if full else "MPEG")
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)  # noqa: S101  an encoder of pictures
    context.width, context.height, context.pix_fmt, context.time_base = (
        frame.width,
        frame.height,
        coded,
        Fraction(1, 25),
    )
    if form == "jpeg":
        context.qmin = context.qmax = round(_COARSEST - (quality - 1) * (_COARSEST - _FINEST) / 99)
    if form == "webp":
        context.options = {"quality": str(quality)}
    frame.pts = 0
    try:
        return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(f"the picture cannot be encoded as {form}") from error
