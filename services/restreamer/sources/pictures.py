"""Watermark pictures: fetched once, checked before they are decoded, kept in memory by their content.

Sources of the headers: PNG 11.2.2 (IHDR), JPEG ITU-T T.81 B.2.2 (SOF), GIF89a 18, RFC 9649 (WebP).
"""

from __future__ import annotations

import hashlib
import io
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped

Kind: TypeAlias = Literal["png", "jpeg", "webp", "gif"]
Pixels: TypeAlias = npt.NDArray[np.uint8]
MOST: Final = 32
LATER_S: Final = 60.0
MOST_BYTES: Final = 160 << 20  # two of the largest
_DEMUXERS: Final[dict[Kind, str]] = {"png": "png_pipe", "jpeg": "jpeg_pipe", "webp": "webp_pipe", "gif": "gif"}
_SOF: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture's file, and its pixels: height x width x RGBA."""

    kind: Kind
    data: bytes
    pixels: Pixels

    @property
    def size(self) -> int:
        """Count the bytes that it takes."""
        return len(self.data) + self.pixels.nbytes


class PictureCache:
    """The pictures that were used last, by content and by where they came from. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._places: OrderedDict[str, str] = OrderedDict()
        self._slow: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def failed(self, place: str, error: SourceError) -> None:
        """Note that a place gave no picture. One that took its time is not asked again for a while."""
        if not (error.lasting or isinstance(error, Stopped)):
            with self._lock:
                self._slow[_digest(place.encode())] = (time.monotonic() + LATER_S, str(error))
                while len(self._slow) > MOST:
                    self._slow.popitem(last=False)

    def check(self, place: str) -> None:
        """Raise SourceError when a place took its time for nothing a short while ago."""
        with self._lock:
            until, text = self._slow.get(_digest(place.encode()), (0.0, ""))
        if time.monotonic() < until:
            raise SourceError(text, lasting=False)

    def known(self, place: str) -> Picture | None:
        """Give the picture that came from a place."""
        with self._lock:
            digest = self._places.get(_digest(place.encode()), "")
            if digest in self._pictures:
                self._pictures.move_to_end(digest)
            return self._pictures.get(digest)

    def add(self, place: str, data: bytes, side: int) -> Picture:
        """Decode a picture, or give the one that was; SourceError when it is not fit."""
        digest = _digest(data)
        with self._lock:
            picture = self._pictures.get(digest)
        picture = picture or decode(data, side)
        with self._lock:
            self._pictures[digest] = picture
            self._places[_digest(place.encode())] = digest
            while len(self._places) > MOST:
                self._places.popitem(last=False)
            while len(self._pictures) > MOST or sum(p.size for p in self._pictures.values()) > MOST_BYTES:
                self._pictures.popitem(last=False)
        return picture


def decode(data: bytes, side: int) -> Picture:
    """Decode a PNG, JPEG, WebP or GIF (its first frame) of at most `side` pixels a side; SourceError."""
    kind, width, height = measure(data)
    if not (0 < width <= side and 0 < height <= side):
        raise SourceError(f"the watermark has {width}x{height} pixels; at most {side} a side are taken")
    try:
        with av.open(io.BytesIO(data), "r", format=_DEMUXERS[kind], options={"protocol_whitelist": "none"}) as opened:
            frame = next(opened.decode(video=0))
            if frame.width > side or frame.height > side:
                raise SourceError("the watermark is larger than it says")
            pixels = frame.to_ndarray(format="rgba").astype(np.uint8, copy=False)
    except (av.FFmpegError, StopIteration, IndexError, ValueError) as error:
        raise SourceError(f"the watermark cannot be decoded as {kind.upper()}") from error
    return Picture(kind, data, pixels)


def measure(data: bytes) -> tuple[Kind, int, int]:
    """Tell kind, width and height by a picture's header; SourceError (wrong type) for anything else."""
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
    at = 2
    while True:
        marker = data[at + 1]
        if data[at] != 0xFF:
            raise SourceError("the watermark's header makes no sense")
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        elif marker in {0x01, *range(0xD0, 0xD9)}:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
