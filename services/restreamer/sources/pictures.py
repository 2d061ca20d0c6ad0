"""Watermark pictures: fetched once, checked before a child decodes them, kept in memory by their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from threading import Lock
from typing import Final

from cachetools import LRUCache, TTLCache

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.apart.decoding import decoded
from services.restreamer.sources.picture_files import Kind, Pixels, checked, measure

__all__ = ["Picture", "PictureCache", "decode", "measure"]
MOST: Final = 32
LATER_S: Final = 60.0
MOST_BYTES: Final = 160 << 20  # two of the largest


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
        # of so many bytes, and so many pictures at the most
        self._pictures: LRUCache[str, Picture] = LRUCache(
            MOST_BYTES, lambda picture: max(picture.size, MOST_BYTES // MOST)
        )
        self._places: LRUCache[str, str] = LRUCache(MOST)
        self._slow: TTLCache[str, str] = TTLCache(MOST, LATER_S)

    def failed(self, place: str, error: SourceError) -> None:
        """Note that a place gave no picture. One that took its time is not asked again for a while."""
        if not (error.lasting or isinstance(error, Stopped)):
            with self._lock:
                self._slow[_digest(place.encode())] = str(error)

    def check(self, place: str) -> None:
        """Raise SourceError when a place took its time for nothing a short while ago."""
        with self._lock:
            text = self._slow.get(_digest(place.encode()))
        if text is not None:
            raise SourceError(text, lasting=False)

    def known(self, place: str) -> Picture | None:
        """Return the picture that came from a place."""
        with self._lock:
            return self._pictures.get(self._places.get(_digest(place.encode()), ""))

    def add(self, place: str, data: bytes, side: int) -> Picture:
        """Decode a picture, or return the one that was; SourceError when it is not fit."""
        digest = _digest(data)
        with self._lock:
            picture = self._pictures.get(digest)
        picture = picture or decode(data, side)
        with self._lock:
            self._pictures[digest] = picture
            self._places[_digest(place.encode())] = digest
        return picture


def _weight(picture: Picture) -> int:
    """Return the bytes that a picture counts for: so many that there are never more than MOST, at most all."""
    return min(max(picture.size, MOST_BYTES // MOST), MOST_BYTES)


def decode(data: bytes, side: int) -> Picture:
    """Decode a PNG, JPEG, WebP or GIF (its first frame) of at most `side` pixels a side; SourceError."""
    kind = checked(data, side)
    return Picture(kind, data, decoded(kind, data, side))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
