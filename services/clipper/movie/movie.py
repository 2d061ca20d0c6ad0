"""Writing progressive MP4 files, moov first, whose media bytes are copied from recorded segments."""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from services.clipper.movie.copying import Range, write_ranges
from services.clipper.movie.layout import Chunks, chunk_track, interleave
from services.clipper.movie.moov import Edit, MovieTrack, build_moov, check_track, movie_timescale
from shared.media.mp4.boxes import Mp4Error

__all__ = ["Edit", "Movie", "MovieTrack", "Plan", "plan_movie", "write_movie"]

FTYP = struct.pack(">I4s4sI12s", 28, b"ftyp", b"isom", 0x200, b"isomiso2mp41")


@dataclass(frozen=True, slots=True)
class Plan:
    """A movie that is not yet written: its bytes are `head`, then the `ranges` in order."""

    head: bytes
    ranges: tuple[Range, ...]
    bytes: int
    duration: Fraction


@dataclass(frozen=True, slots=True)
class Movie:
    """A written movie: bytes of the file, their sha256 in hex, its duration in seconds, and ranges copied."""

    path: Path
    bytes: int
    sha256: str
    duration: Fraction
    ranges: int


def write_movie(
    out: Path,
    tracks: Sequence[MovieTrack],
    *,
    window: tuple[Fraction, Fraction] | None = None,
    tick: Callable[[int], None] | None = None,
    durable: bool = True,
) -> Movie:
    """Write `out` with the samples of `tracks`, whose tables share one time line and may mix source files.

    `window` is what is presented, [start, end) in seconds on that time line; by default all, from the earliest sample
    on. `tick` is called with the bytes written so far; an exception from it ends the work. The file appears whole under
    its name or not at all. Raises Mp4Error for tables that cannot be written or sources that have shrunk, OSError
    (for instance ENOSPC) from the disk.
    """
    plan = plan_movie(tracks, window=window)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        digest = _write(temporary, plan, tick, durable=durable)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _sync_folder(out.parent)
    return Movie(out, plan.bytes, digest, plan.duration, len(plan.ranges))


def plan_movie(tracks: Sequence[MovieTrack], *, window: tuple[Fraction, Fraction] | None = None) -> Plan:
    """Plan what `write_movie` would write, without touching a file; raises Mp4Error as it does."""
    if not tracks or not any(len(t.samples) for t in tracks):
        raise Mp4Error("a movie needs samples")
    tracks = [t for t in tracks if len(t.samples)]
    for track in tracks:
        check_track(track)
    chunks = [chunk_track(t) for t in tracks]
    order = interleave(tracks, chunks)
    ranges = _ranges(tracks, chunks, order)
    media = sum(r.length for r in ranges)
    start, end = window or _whole(tracks)
    scale = movie_timescale(tracks, end - start)
    head = _head(tracks, chunks, order, media, (start, end, scale))
    return Plan(head, tuple(ranges), len(head) + media, end - start)


def _whole(tracks: Sequence[MovieTrack]) -> tuple[Fraction, Fraction]:
    """Return the span of all samples in seconds."""
    starts = [Fraction(int(t.samples.pts.min()), t.config.timescale) for t in tracks]
    ends = [Fraction(int((t.samples.pts + t.samples.duration).max()), t.config.timescale) for t in tracks]
    return min(starts), max(ends)


def _head(
    tracks: Sequence[MovieTrack],
    chunks: Sequence[Chunks],
    order: Sequence[tuple[int, int]],
    media: int,
    span: tuple[Fraction, Fraction, int],
) -> bytes:
    """Build everything before the media bytes; the size of moov comes from a first try with offsets from 0."""
    mdat = struct.pack(">I4sQ", 1, b"mdat", media + 16) if media + 8 > 0xFFFFFFFF else struct.pack(
        ">I4s", media + 8, b"mdat")  # fmt: skip
    offsets = _offsets(chunks, order)
    wide = False
    for _ in range(3):
        size = len(FTYP) + len(build_moov(tracks, chunks, offsets, span, wide=wide)) + len(mdat)
        if wide or size + media <= 0xFFFFFFFF:
            placed = [o + size for o in offsets]
            return FTYP + build_moov(tracks, chunks, placed, span, wide=wide) + mdat
        wide = True
    raise Mp4Error("chunk offsets do not settle")


def _offsets(chunks: Sequence[Chunks], order: Sequence[tuple[int, int]]) -> list[np.typing.NDArray[np.int64]]:
    """Return the chunks' offsets, one after the other from 0; an array per track."""
    offsets = [np.zeros(len(c.first), np.int64) for c in chunks]
    at = 0
    for track, index in order:
        offsets[track][index] = at
        at += int(chunks[track].bytes[index])
    return offsets


def _ranges(tracks: Sequence[MovieTrack], chunks: Sequence[Chunks], order: Sequence[tuple[int, int]]) -> list[Range]:
    """Return the source ranges in output order, joined where they touch."""
    ranges: list[Range] = []
    runs = [c.runs(t.samples) for t, c in zip(tracks, chunks, strict=True)]
    for track, index in order:
        files = tracks[track].samples.files
        for source, offset, length in runs[track][index]:
            path = files[source]
            last = ranges[-1] if ranges else None
            if last and last.path == path and last.offset + last.length == offset:
                ranges[-1] = Range(path, last.offset, last.length + length)
            elif length:
                ranges.append(Range(path, offset, length))
    return ranges


def _write(path: Path, plan: Plan, tick: Callable[[int], None] | None, *, durable: bool) -> str:
    """Write head and ranges to a new file, and return its sha256."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        digest = write_ranges(fd, plan.head, plan.ranges, tick)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    return digest


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
