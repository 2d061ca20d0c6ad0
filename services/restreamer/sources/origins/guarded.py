"""A file object for FFmpeg: when reading fails, the file ends there, and the error is kept."""

from __future__ import annotations

import os

from services.restreamer.model import SourceError
from services.restreamer.sources.flv.seek import Seekable
from services.restreamer.sources.origins.files import Readable


class Guarded:
    """Forwards reads, and keeps the first error: after one FFmpeg may read again, and PyAV would print later errors."""

    def __init__(self, file: Readable) -> None:
        self.file = file
        self.error: SourceError | None = None

    @property
    def torn(self) -> bool:
        """Whether the break may have cut a frame."""
        return self.error is not None and getattr(self.error, "torn", True)

    def read(self, size: int) -> bytes:
        """Read the next bytes; return none at the end, or after the file broke off."""
        if self.error is None:
            try:
                return self.file.read(size)
            except SourceError as error:
                self.error = error
        return b""

    def seekable(self) -> bool:
        """Return whether the file is seekable."""
        known = getattr(self.file, "seekable", None)
        return isinstance(self.file, Seekable) and (known is None or bool(known()))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek to an offset; return -1 when that is not possible."""
        if self.error is None and isinstance(self.file, Seekable):
            try:
                return self.file.seek(offset, whence)
            except SourceError as error:
                self.error = error
        return -1

    def tell(self) -> int:
        """Return the offset of the next byte to read; -1 when it is unknown."""
        tell = getattr(self.file, "tell", None)
        return -1 if tell is None else int(tell())
