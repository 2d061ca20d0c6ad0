"""Fetch files that can be played only as a whole, into temporary files without a name."""

from __future__ import annotations

import os
import tempfile
from typing import Final

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Spool
from services.restreamer.sources.origins.files import LocalFile, Readable
from shared.store import StoreFull
from shared.store.reserve import MIB

PIECE: Final = 1 << 18
LOOK_EVERY: Final = 64 * MIB
LATE: Final = "the server sends no ranges, and the mp4's index (moov) is at its end"


def fetched(file: Readable, size: int | None, spool: Spool, most: int) -> LocalFile:
    """Read a file of at most `most` bytes to its end, and return it as a seekable file. Raise SourceError."""
    if not most:
        raise SourceError(LATE)
    _check(size or 0, most)
    _make_room(size or 0, spool)
    try:
        if spool.folder is not None:
            spool.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=spool.folder, buffering=0) as kept:
            _copy(file, kept.fileno(), spool, most)
            handle = os.dup(kept.fileno())
        os.lseek(handle, 0, os.SEEK_SET)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise SourceError(f"{LATE}; it cannot be fetched whole: {why}", lasting=False) from error
    file.close()
    return LocalFile(handle)


def _copy(file: Readable, handle: int, spool: Spool, most: int) -> None:
    count = looked = 0
    while piece := file.read(PIECE):
        count += len(piece)
        _check(count, most)
        if count - looked > LOOK_EVERY:
            looked = count
            _make_room(LOOK_EVERY, spool)
        view = memoryview(piece)
        while view:
            view = view[os.write(handle, view) :]


def _check(size: int, most: int) -> None:
    if size > most:
        raise SourceError(f"{LATE}; it is larger than the {most // MIB} MiB that are fetched whole")


def _make_room(size: int, spool: Spool) -> None:
    """Raise SourceError when the disk has too little room for so many more bytes."""
    try:
        if spool.reserve is not None:
            spool.reserve.require(size)
    except (StoreFull, OSError) as error:
        raise SourceError(f"{LATE}; it cannot be fetched whole: {error}", lasting=False) from error
