"""Reading samples' bytes by their offset in the recorded files, and collecting encoded ones in a spool."""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.media.model import SampleTable
from shared.media.seams.errors import SegmentUnreadable

_OPEN_FILES = 16


class SampleReader:
    """Reads samples of a table; keeps the last few files open. Use as a context manager."""

    def __init__(self, table: SampleTable) -> None:
        self._table = table
        self._open: OrderedDict[int, int] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def read(self, row: int) -> bytes:
        """Read the bytes of sample `row`; SegmentUnreadable when its file is gone or ends too early."""
        source, size = int(self._table.source[row]), int(self._table.size[row])
        path = self._table.files[source]
        try:
            data = os.pread(self._descriptor(source), size, int(self._table.offset[row]))
        except OSError as error:
            raise SegmentUnreadable(path, error.strerror or "cannot be read") from error
        if len(data) < size:
            raise SegmentUnreadable(path, "ends inside a sample")
        return data

    def _descriptor(self, source: int) -> int:
        if source in self._open:
            self._open.move_to_end(source)
            return self._open[source]
        while len(self._open) >= _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        self._open[source] = os.open(self._table.files[source], os.O_RDONLY | os.O_CLOEXEC)
        return self._open[source]


class Spool:
    """A nameless file in `folder` that grows by samples; it is gone when the process ends, however that comes."""

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
        """A name by which this process can open the file."""
        return Path(f"/proc/self/fd/{self._file.fileno()}")

    def append(self, data: bytes) -> int:
        """Write `data` at the end and return its offset; OSError when the disk is full."""
        offset = self.size
        self._file.write(data)
        self.size += len(data)
        return offset

    def flush(self) -> None:
        """Make what was appended readable by path."""
        self._file.flush()
