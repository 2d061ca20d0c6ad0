"""The store as readers of recordings see it: encrypted segments and init segments look as if they had been clear.

Sizes and offsets are the stored ones. What checks checksums, and what moves files as they are, uses the store itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cachetools import LRUCache

from shared.media.cenc.clear import PROBE, clear_init, clear_segment, init_kid, segment_kid
from shared.security.content_keys import ContentKeys, folder_of
from shared.store.base import MediaStore, ObjectInfo

_SEGMENT: Final = re.compile(r"live/[^/]+/[^/]+/[^/]+/\d+\.m4s")
_INIT: Final = re.compile(r"live/[^/]+/[^/]+/[^/]+/init-\d+\.mp4")
_LARGEST: Final = 256 << 20
_MOST_FOLDERS: Final = 16_384


class ClearStore(MediaStore):
    """Decrypts what is read of recordings, a segment at a time; MediaError where that is damaged, KeyUnknown.

    `kept`: so many bytes of decrypted segments stay in this process's memory, for the many who read the same ones.
    """

    def __init__(self, store: MediaStore, keys: ContentKeys, kept: int = 0) -> None:
        self.raw: Final = store
        self._clear: LRUCache[tuple[str, int, int], bytes] = LRUCache(kept, len)
        self._turn = threading.Lock()
        self._keys = keys
        self._sealed: LRUCache[str, bool] = LRUCache(_MOST_FOLDERS)
        self._lock = threading.Lock()

    def is_sealed(self, key: str) -> bool:
        """Return whether an object is an encrypted segment: all of a folder are, or none, as its session began."""
        if not _SEGMENT.fullmatch(key):
            return False
        folder = folder_of(key)
        with self._lock:
            known = self._sealed.get(folder)
        if known is None:
            head = b"".join(self.raw.read(key, 0, PROBE))
            known = bool(segment_kid(head))
            if len(head) == PROBE:  # not an empty file, which says nothing of the others
                with self._lock:
                    self._sealed[folder] = known
        return known

    def get(self, key: str, *, limit: int = 64 << 20) -> bytes:
        """Read an object, decrypted."""
        return self._cleared(key, self.raw.get(key, limit=limit))

    def read(self, key: str, offset: int, length: int, *, chunk: int = 1 << 18, version: str = "") -> Iterator[bytes]:
        """Read a range piece by piece, of the decrypted object."""
        if _INIT.fullmatch(key) or self.is_sealed(key):
            piece = memoryview(self._all(key, version))[offset : offset + max(length, 0)]
            yield from (bytes(piece[at : at + chunk]) for at in range(0, len(piece), chunk))
        else:
            yield from self.raw.read(key, offset, length, chunk=chunk, version=version)

    def _all(self, key: str, version: str) -> bytes:
        """Return a decrypted object; what it was decrypted from is not kept while a client takes its time."""
        return self._cleared(key, b"".join(self.raw.read(key, 0, _LARGEST, version=version)))

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """Yield a file with the object's bytes; decrypted ones lie in memory and never on a disk."""
        if not (_INIT.fullmatch(key) or self.is_sealed(key)):
            with self.raw.local(key) as path:
                yield path
            return
        with os.fdopen(os.memfd_create("segment", os.MFD_CLOEXEC), "wb", buffering=0) as file:
            file.write(self.get(key, limit=_LARGEST))
            yield Path(f"/proc/self/fd/{file.fileno()}")

    def _cleared(self, key: str, data: bytes) -> bytes:
        if _SEGMENT.fullmatch(key):
            kid = segment_kid(data[:PROBE])
            return self._decrypted(key, kid, data) if kid else data
        if _INIT.fullmatch(key) and b"sinf" in data and init_kid(data):
            return clear_init(data)
        return data

    @property
    def fetches(self) -> bool:
        """Return whether the store itself does; what is decrypted stays in memory."""
        return self.raw.fetches

    def _decrypted(self, key: str, kid: bytes, data: bytes) -> bytes:
        if len(data) > self._clear.maxsize // 4:
            return clear_segment(data, self._keys.find(folder_of(key), kid).key)
        name = key, len(data), zlib.crc32(data)  # not its key alone: the segment that is being written grows
        with self._turn:  # whoever wants the same one meanwhile finds it then
            made = self._clear.get(name)
            if made is None:
                made = self._clear[name] = clear_segment(data, self._keys.find(folder_of(key), kid).key)
            return made

    def begin(self, key: str) -> Path:
        """Return the path to write an object to, as it is."""
        return self.raw.begin(key)

    def commit(self, key: str) -> None:
        """Turn a written file into an object, as it is."""
        self.raw.commit(key)

    def put(self, key: str, data: bytes) -> None:
        """Write a small object, as it is."""
        self.raw.put(key, data)

    def info(self, key: str) -> ObjectInfo | None:
        """Look up an object: its size is the same, encrypted or not."""
        return self.raw.info(key)

    def copy(self, source: str, key: str) -> None:
        """Copy an object as it is."""
        self.raw.copy(source, key)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """List objects."""
        return self.raw.list(prefix, after=after)

    def delete(self, key: str, *, version: str = "") -> None:
        """Remove an object."""
        self.raw.delete(key, version=version)

    def check(self, name: str, *, writes: bool) -> None:
        """Check that the store works."""
        self.raw.check(name, writes=writes)
