"""Writing a file from byte ranges of other files: past the page cache where possible, and hashed on the way.

An hour's clip has 2.3 GB. Writing it through the page cache costs more than the disk does and evicts the segments that
are being recorded; and hashing it later reads it all again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from services.clipper.open_files import OpenFiles
from shared.media.mp4.boxes import Mp4Error

OPEN_FILES: Final = 32
BLOCK: Final = 8 << 20
BUFFERS: Final = 2  # one is filled and hashed while the other is written
ALIGN: Final = 4096  # what O_DIRECT asks of offsets and lengths, on any disk; mmap gives aligned memory


class Range(NamedTuple):
    """`length` bytes at `offset` of a file."""

    path: Path
    offset: int
    length: int


def write_ranges(
    out: int, head: bytes, ranges: Iterable[Range], tick: Callable[[int], None] | None = None, *, block: int = BLOCK
) -> str:
    """Write `head`, then the ranges, to the empty file `out`; return the sha256 of all, in hex.

    `tick` is called with the bytes taken so far; an exception from it ends the work. `block` bytes, a multiple of 4096,
    are written at a time. Raises Mp4Error when a source is shorter than its range, and OSError from the disk.
    """
    with OpenFiles(OPEN_FILES) as sources, _Sink(out, block) as sink:
        sink.add(head)
        for path, offset, length in ranges:
            at, end = offset, offset + length
            while at < end:
                done = sources.into(path, sink.room(end - at), at)
                if not done:
                    raise Mp4Error(f"{path.name} ends before byte {end}")
                sink.took(done)
                at += done
            if tick is not None:
                tick(sink.taken)
        return sink.finish()


class _Sink:
    """Collects bytes in blocks; its own thread writes each, while the caller hashes it and fills the next."""

    def __init__(self, out: int, block: int) -> None:
        self.taken = 0
        self._out = out
        self._buffers = [memoryview(mmap.mmap(-1, block)) for _ in range(BUFFERS)]
        self._writes: deque[Future[None]] = deque()
        self._writer = ThreadPoolExecutor(1, "mp4-write")
        self._digest = hashlib.sha256()
        self._filled = 0
        _set_direct(out, on=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown(cancel_futures=True)
        _set_direct(self._out, on=False)

    def room(self, most: int) -> memoryview:
        """Return memory to fill, at most `most` bytes; call `took` with the number of bytes filled."""
        return self._buffers[0][self._filled : self._filled + most]

    def took(self, count: int) -> None:
        self.taken += count
        self._filled += count
        if self._filled == len(self._buffers[0]):
            self._write()

    def add(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            room = self.room(len(left))
            room[:] = left[: len(room)]
            left = left[len(room) :]
            self.took(len(room))

    def finish(self) -> str:
        """Write what is left; return the hash."""
        if self._filled:
            self._write()
        while self._writes:
            self._writes.popleft().result()
        return self._digest.hexdigest()

    def _write(self) -> None:
        block = self._buffers[0][: self._filled]
        self._writes.append(self._writer.submit(_write_all, self._out, block))
        self._digest.update(block)
        while len(self._writes) >= BUFFERS:  # the next buffer is free when its write is done
            self._writes.popleft().result()
        self._buffers.append(self._buffers.pop(0))
        self._filled = 0


def _write_all(out: int, block: memoryview) -> None:
    if len(block) % ALIGN:  # the last one
        _set_direct(out, on=False)
    while block:
        try:
            block = block[os.write(out, block) :]
        except OSError as error:  # some file systems accept the flag and then refuse the write
            if error.errno != errno.EINVAL or not _set_direct(out, on=False):
                raise


def _set_direct(out: int, *, on: bool) -> bool:
    """Turn O_DIRECT on or off where the file system supports it; return whether that changed the flag."""
    flags = fcntl.fcntl(out, fcntl.F_GETFL)
    wanted = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
    try:
        fcntl.fcntl(out, fcntl.F_SETFL, wanted)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return wanted != flags
