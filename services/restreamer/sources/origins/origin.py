"""The interface of all origins of a file's bytes, and media stores as one."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Final, Protocol

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits, stored
from shared.store import MediaStore

PIECE: Final = 1 << 18


class Origin(Protocol):
    """Bytes of one unchanging file. `size` is None when unknown; `ranged`: reading may start at any offset.

    Without `ranged`, `stream` starts only at 0. All methods raise SourceError.
    """

    size: int | None
    ranged: bool

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the bytes from `start` to before `end`, or to the file's end."""
        ...

    def close(self) -> None:
        """Release its resources."""
        ...


class StoreOrigin:
    """An object of a media store on another machine."""

    ranged = True

    def __init__(
        self,
        store: MediaStore,
        key: str,
        limits: Limits,
        stop: Event,
        missing: str = "its file is no longer in the store",
    ) -> None:
        self._store = store
        self._key = key
        self._limits = limits
        self._stop = stop
        info = stored(lambda: store.info(key), stop, limits.patience)
        if info is None:
            raise SourceError(missing)
        self.size: int | None = info.size
        self._version = info.version  # no byte is read of a file that replaces this one meanwhile

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes piece by piece, one request each."""
        last = (self.size or 0) if end is None else min(end, self.size or 0)
        while start < last:
            piece = self._read(start, min(PIECE * 4, last - start))
            if not piece:
                raise SourceError("its file is shorter than the store said", lasting=False)
            start += len(piece)
            yield piece

    def _read(self, start: int, length: int) -> bytes:
        def read() -> bytes:
            return b"".join(self._store.read(self._key, start, length, version=self._version))

        return stored(read, self._stop, self._limits.patience)

    def close(self) -> None:
        """Close nothing: this origin holds no resource."""
