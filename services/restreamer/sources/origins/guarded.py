"""A file as FFmpeg reads it: one that breaks off ends there, and what broke it is kept for who asks."""

from __future__ import annotations

import os

from services.restreamer.model import SourceError
from services.restreamer.sources.flv.seek import Seekable
from services.restreamer.sources.origins.files import Readable


class Guarded:
    """Passes reads on. FFmpeg may read again after an error, of which PyAV keeps one and prints the others."""

    def __init__(self, file: Readable) -> None:
        self.file = file
        self.error: SourceError | None = None

    @property
    def torn(self) -> bool:
        """Tell whether it has broken off in the middle of something."""
        return self.error is not None and getattr(self.error, "torn", True)

    def read(self, size: int) -> bytes:
        """Read on; nothing at the end, or where the file breaks off."""
        if self.error is None:
            try:
                return self.file.read(size)
            except SourceError as error:
                self.error = error
        return b""

    def seekable(self) -> bool:
        """Tell whether it can be read anywhere."""
        known = getattr(self.file, "seekable", None)
        return isinstance(self.file, Seekable) and (known is None or bool(known()))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte; -1 where that cannot be."""
        if self.error is None and isinstance(self.file, Seekable):
            try:
                return self.file.seek(offset, whence)
            except SourceError as error:
                self.error = error
        return -1

    def tell(self) -> int:
        """Tell the byte that is read next."""
        tell = getattr(self.file, "tell", None)
        return -1 if tell is None else int(tell())
