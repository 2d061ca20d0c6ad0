"""Reading samples' bytes from the recorded files, and collecting encoded ones in a spool."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from services.clipper.open_files import OpenFiles
from shared.media.model import SampleTable
from shared.media.seams.errors import SegmentUnreadable

_OPEN_FILES = 16


class SampleReader:
    """Reads samples of a table; keeps the last few files open. Use as a context manager."""

    def __init__(self, table: SampleTable) -> None:
        self._table = table
        self._open = OpenFiles(_OPEN_FILES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def read(self, row: int) -> bytes:
        """Read the bytes of sample `row`; SegmentUnreadable when its file is gone or ends too early."""
        source, size = int(self._table.source[row]), int(self._table.size[row])
        path = self._table.files[source]
        try:
            data = self._open.read(path, size, int(self._table.offset[row]))
        except OSError as error:
            raise SegmentUnreadable(path, error.strerror or "cannot be read") from error
        if len(data) < size:
            raise SegmentUnreadable(path, "ends inside a sample")
        return data


class Spool:
    """A nameless file in `folder` that samples are appended to; it is gone when the process ends in any way."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by __exit__
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def path(self) -> Path:
        """Return a path by which this process can open the file."""
        return Path(f"/proc/self/fd/{self._file.fileno()}")

    def append(self, data: bytes) -> int:
        """Write `data` at the end and return its offset; OSError when the disk is full."""
        offset = self.size
        self._file.write(data)
        self.size += len(data)
        return offset

    def flush(self) -> None:
        """Make the appended bytes readable by path."""
        self._file.flush()
