"""Picture files: check their headers before decoding, and decode them, which a child does.

Sources of the headers: PNG 11.2.2 (IHDR), JPEG ITU-T T.81 B.1.1, B.2.2 (SOF), GIF89a 18, RFC 9649 (WebP).
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, get_args

import av
import numpy as np
import numpy.typing as npt

from services.restreamer.model import SourceError

Kind: TypeAlias = Literal["png", "jpeg", "webp", "gif"]
Pixels: TypeAlias = npt.NDArray[np.uint8]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
MOST_MARKERS: Final = 4096
_DEMUXERS: Final[dict[Kind, str]] = {"png": "png_pipe", "jpeg": "jpeg_pipe", "webp": "webp_pipe", "gif": "gif"}
_SOF: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_MARKER: Final = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""A marker that a segment follows, or the end; in coded data 00 or RST0 to RST7 follow each FF."""
_END: Final = 0xD9


def checked(data: bytes, side: int) -> Kind:
    """Return a picture's kind; raise SourceError when its header is invalid, or a side is longer than `side`."""
    kind, width, height = measure(data)
    if not (0 < width <= side and 0 < height <= side):
        raise SourceError(f"the watermark has {width}x{height} pixels; at most {side} a side are taken")
    return kind


def decode_pixels(kind: Kind, data: bytes, side: int) -> Pixels:
    """Return a checked picture as height x width x RGBA; raise SourceError. Untrusted pictures: only in a child."""
    try:
        with av.open(io.BytesIO(data), "r", format=_DEMUXERS[kind], options={"protocol_whitelist": "none"}) as opened:
            opened.streams.video[0].codec_context.thread_count = 1
            frame = next(opened.decode(video=0))
            if frame.width > side or frame.height > side:
                raise SourceError("the watermark is larger than it says")
            return frame.reformat(format="rgba", threads=1).to_ndarray().astype(np.uint8, copy=False)
    except (av.FFmpegError, StopIteration, IndexError, ValueError) as error:
        raise SourceError(f"the watermark cannot be decoded as {kind.upper()}") from error


def measure(data: bytes) -> tuple[Kind, int, int]:
    """Return kind, width and height by a picture's header; raise SourceError (wrong type) for anything else."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return "png", *struct.unpack_from(">II", data, 16)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return "gif", *struct.unpack_from("<HH", data, 6)
        if data.startswith(b"\xff\xd8\xff"):
            return "jpeg", *_jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return "webp", *_webp(data)
    except (struct.error, IndexError) as error:
        raise SourceError("the watermark's header is cut short") from error
    raise SourceError("wrong type: a watermark is a PNG, JPEG, WebP or GIF")


def _jpeg(data: bytes) -> tuple[int, int]:
    """Return the size in all frame headers; raise SourceError when they differ: the decoder may use another one."""
    sizes = {struct.unpack_from(">HH", data, at + 5)[::-1] for kind, at in _markers(data) if kind in _SOF}
    if len(sizes) > 1:
        raise SourceError("the watermark's header makes no sense: it has two sizes")
    if not sizes:
        raise SourceError("the watermark's header is cut short")
    width, height = sizes.pop()
    return width, height


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG up to its end: code and offset of each."""
    at = 2
    for _ in range(MOST_MARKERS):
        found = _MARKER.search(data, at)
        if found is None or data[found.start() + 1] == _END:
            return
        begin = found.start()
        yield data[begin + 1], begin
        at = begin + 2 + struct.unpack_from(">H", data, begin + 2)[0]
    raise SourceError("the watermark's header makes no sense: it has too many markers")


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
