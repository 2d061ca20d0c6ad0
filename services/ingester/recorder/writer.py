"""Segments on disk: written part by part without a buffer, so that a killed process loses only the current part."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.ingester.recorder.model import PathOf, SegmentInfo
from shared.errors import Unavailable
from shared.media.cenc.seal import Sealer
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.mp4.init import build_init
from shared.media.segment_files import MOST_KEYFRAMES
from shared.media.segment_head import SegmentHead, build_head
from shared.media.tracks import TrackConfig
from shared.store.base import StoreFull

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def store_error(error: OSError) -> Unavailable:
    """Convert an OSError to StoreFull when the disk is full, otherwise to Unavailable."""
    if error.errno in FULL:
        return StoreFull("no room left for recording")
    return Unavailable(f"recording cannot be written: {error.strerror}")


def write_init(path_of: PathOf, number: int, tracks: Sequence[TrackConfig], kid: bytes = b"") -> None:
    """Write `init-<number>.mp4` atomically, naming the key of its segments; raises StoreFull or Unavailable."""
    path = path_of(f"init-{number}.mp4")
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(build_init([replace(track, kid=kid) for track in tracks]))
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise store_error(error) from error


@dataclass(slots=True)
class OpenSegment:
    """The segment being written. Its file is created with its first part."""

    path_of: PathOf
    fragments: FragmentWriter
    head: SegmentHead
    timescale: int
    start: int
    first_of_init: bool
    sealer: Sealer | None = None
    size: int = 0
    keyframes: list[int] = field(default_factory=list)
    _fd: int = -1
    _path: Path = field(default_factory=Path)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, samples: Mapping[int, Sequence[Sample]]) -> None:
        """Write one part; on StoreFull or Unavailable the file still holds its complete parts."""
        data = self.fragments.part(samples, self.sealer)
        try:
            if self._fd < 0:
                self._path = self.path_of(f"{self.head.sequence:08d}.m4s")
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
                data = build_head(self.head) + data
            self._write(data)
        except OSError as error:
            self._undo()
            raise store_error(error) from error
        self._digest.update(data)
        self.size += len(data)

    def amend(self, fragments: FragmentWriter, head: SegmentHead) -> None:
        """Continue under another init segment that also covers what is written; raises StoreFull or Unavailable."""
        self.fragments, self.head, self.first_of_init = fragments, head, True
        if self._fd < 0:
            return
        try:
            os.pwrite(self._fd, build_head(head), 0)  # as long as before
            self._digest = hashlib.sha256(self._path.read_bytes())
        except OSError as error:
            raise store_error(error) from error

    def _write(self, data: bytes) -> None:
        done = os.write(self._fd, data)
        while done < len(data):
            done += os.write(self._fd, memoryview(data)[done:])

    def _undo(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):  # recovery truncates it later in any case
                os.ftruncate(self._fd, self.size)
            if not self.size:
                with suppress(OSError):
                    self._path.unlink()

    def release(self) -> None:
        """Close the file if it is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self, duration: int) -> SegmentInfo | None:
        """Close the file and return its segment; None when nothing was written."""
        self.release()
        if not self.size:
            return None
        return SegmentInfo(
            sequence=self.head.sequence,
            path=self._path,
            init_number=self.head.init_number,
            first_of_init=self.first_of_init,
            start=self.start,
            duration=duration,
            timescale=self.timescale,
            wall_start_ms=self.head.wall_start_ms,
            bytes=self.size,
            sha256=self._digest.hexdigest(),
            keyframes=tuple(self.keyframes[:MOST_KEYFRAMES]),
            discontinuity=self.head.discontinuity,
            independent=self.head.independent,
        )
