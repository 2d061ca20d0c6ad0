"""Copying byte ranges between files inside the kernel where it can."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shared.media.mp4.boxes import Mp4Error

OPEN_FILES = 32
STEP = 16 << 20  # a call copies this much at most, so that progress is told and a stop is noticed
# The kernel or the file system does not do this kind of copy; another way may work.
UNSUPPORTED = frozenset((errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM))


class Range(NamedTuple):
    """`length` bytes at `offset` of a file."""

    path: Path
    offset: int
    length: int


def _by_range(out: int, source: int, offset: int, count: int) -> int:
    return os.copy_file_range(source, out, count, offset)


def _by_sendfile(out: int, source: int, offset: int, count: int) -> int:
    return os.sendfile(out, source, offset, count)


def _by_hand(out: int, source: int, offset: int, count: int) -> int:
    return os.write(out, os.pread(source, min(count, 1 << 20), offset))


Method = Callable[[int, int, int, int], int]
METHODS: tuple[Method, ...] = (_by_range, _by_sendfile, _by_hand)


class _Sources:
    """Open source files, the least recently used closed first."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, int] = OrderedDict()

    def fd(self, path: Path) -> int:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        while len(self._open) >= OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._open[path]

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])


def copy_ranges(
    out: int,
    ranges: Iterable[Range],
    tick: Callable[[int], None] | None = None,
    methods: tuple[Method, ...] = METHODS,
) -> int:
    """Append the ranges to file descriptor `out`; give the bytes copied.

    `tick` hears the bytes copied so far. Raises Mp4Error when a source is shorter than its range, and
    OSError from the disk.
    """
    sources, total = _Sources(), 0
    usable = list(methods)
    try:
        for path, offset, length in ranges:
            at, end = offset, offset + length
            while at < end:
                try:
                    done = usable[0](out, sources.fd(path), at, min(STEP, end - at))
                except OSError as error:
                    if error.errno not in UNSUPPORTED or len(usable) == 1:
                        raise
                    usable.pop(0)
                    continue
                if not done and len(usable) > 1:  # some file systems answer 0 for what they cannot do
                    usable.pop(0)
                    continue
                if not done:
                    raise Mp4Error(f"{path.name} ends before byte {end}")
                at += done
                total += done
            if tick is not None:
                tick(total)
    finally:
        sources.close()
    return total
