"""Salvaging what a killed recorder left in a session's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from services.ingester.recorder.model import SegmentInfo
from services.ingester.recorder.writer import store_error
from shared.media.mp4.boxes import Mp4Error
from shared.media.segment_files import SegmentFile, Tracks, digest, met, read_segment, read_tracks
from shared.runtime.logging import get_logger

log = get_logger()


def recover(folder: Path, after: int = -1) -> list[SegmentInfo]:
    """Return every segment in `folder` with a sequence above `after`, in order, as its recorder would have returned it.

    Truncates an incomplete part at a file's end, and deletes a file without a complete part; leaves other files
    alone. `first_of_init` is set only where the init segment is in the folder. A second call returns the same.
    Raises StoreFull or Unavailable when the disk fails.
    """
    try:
        return _meet(list(_recover(folder, after)))
    except OSError as error:
        raise store_error(error) from error


def _recover(folder: Path, after: int) -> Iterator[SegmentInfo]:
    inits: dict[int, Tracks] = {}
    last_init: int | None = None

    def tracks_of(number: int) -> Tracks:
        if number not in inits:
            inits[number] = read_tracks(folder / f"init-{number}.mp4")
        return inits[number]

    found = sorted((int(p.stem), p) for p in folder.glob("*.m4s") if p.stem.isdecimal() and len(p.stem) <= 9)
    for sequence, path in found:
        if sequence <= after:
            continue
        try:
            read = read_segment(path, tracks_of)
        except Mp4Error as error:
            log.warning("recorder.segment.lost", path=path.name, error=str(error))
            continue
        if read is None:
            path.unlink()
            continue
        number = read.head.init_number
        yield _describe(path, read, first=bool(tracks_of(number)) and number != last_init)
        last_init = number


def _meet(segments: list[SegmentInfo]) -> list[SegmentInfo]:
    """End each segment where the next one starts when that is within about a frame, as the recorder does."""
    for index, (info, following) in enumerate(pairwise(segments)):
        if following.sequence == info.sequence + 1:
            duration = met(info.start, info.duration, info.timescale, following.start, following.timescale)
            segments[index] = replace(info, duration=duration)
    return segments


def _describe(path: Path, read: SegmentFile, *, first: bool) -> SegmentInfo:
    """Truncate one file to its complete parts, and describe it."""
    if path.stat().st_size > read.size:
        os.truncate(path, read.size)
    head = read.head
    return SegmentInfo(
        sequence=int(path.stem),
        path=path,
        init_number=head.init_number,
        first_of_init=first,
        start=head.start,
        duration=read.duration,
        timescale=head.timescale,
        wall_start_ms=head.wall_start_ms,
        bytes=read.size,
        sha256=digest(path, read.size),
        keyframes=read.keyframes,
        discontinuity=head.discontinuity,
        independent=head.independent,
    )
