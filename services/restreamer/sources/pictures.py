"""Watermark pictures: fetched once, checked before a child decodes them, cached in memory by their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Final

from cachetools import LRUCache, TTLCache

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.apart.decoding import decoded
from services.restreamer.sources.picture_files import Kind, Pixels, checked, measure

__all__ = ["PictureCache", "StillImage", "decode", "measure"]
MOST: Final = 32
LATER: Final = timedelta(minutes=1)
MOST_BYTES: Final = 160 << 20  # two of the largest pictures


@dataclass(frozen=True, eq=False)
class StillImage:
    """A picture's file, and its pixels as height x width x RGBA."""

    kind: Kind
    data: bytes
    pixels: Pixels

    @property
    def size(self) -> int:
        """The bytes of memory that it takes."""
        return len(self.data) + self.pixels.nbytes


class PictureCache:
    """The most recently used pictures, by content and by location. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pictures: LRUCache[str, StillImage] = LRUCache(MOST_BYTES, _weight)
        self._locations: LRUCache[str, str] = LRUCache(MOST)
        self._slow: TTLCache[str, str] = TTLCache(MOST, LATER.total_seconds())

    def failed(self, location: str, error: SourceError) -> None:
        """Record that a location failed. After a temporary failure it is not tried again for LATER."""
        if not (error.lasting or isinstance(error, Stopped)):
            with self._lock:
                self._slow[_digest(location.encode())] = str(error)

    def check(self, location: str) -> None:
        """Raise SourceError when a location failed less than LATER ago."""
        with self._lock:
            text = self._slow.get(_digest(location.encode()))
        if text is not None:
            raise SourceError(text, lasting=False)

    def known(self, location: str) -> StillImage | None:
        """Return the picture that came from a location; None when there is none."""
        with self._lock:
            return self._pictures.get(self._locations.get(_digest(location.encode()), ""))

    def add(self, location: str, data: bytes, side: int) -> StillImage:
        """Return the decoded picture, from the cache if possible; raise SourceError when it cannot be used."""
        digest = _digest(data)
        with self._lock:
            picture = self._pictures.get(digest)
        picture = picture or decode(data, side)
        with self._lock:
            self._pictures[digest] = picture
            self._locations[_digest(location.encode())] = digest
        return picture


def _weight(picture: StillImage) -> int:
    """Return the bytes that a picture counts for: enough that at most MOST fit, and never more than MOST_BYTES."""
    return min(max(picture.size, MOST_BYTES // MOST), MOST_BYTES)


def decode(data: bytes, side: int) -> StillImage:
    """Return a decoded PNG, JPEG, WebP or GIF (first frame) of at most `side` pixels a side; raise SourceError."""
    kind = checked(data, side)
    return StillImage(kind, data, decoded(kind, data, side))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
