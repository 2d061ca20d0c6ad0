"""Salvaging what a killed recorder left in a session's folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from services.ingester.recorder.cuts import segment_end
from services.ingester.recorder.head import SegmentHead, read_head
from services.ingester.recorder.model import AUDIO_ID, VIDEO_ID, VIDEO_SCALE, SegmentInfo
from services.ingester.recorder.writer import MOST_KEYFRAMES, store_error
from shared.logging import get_logger
from shared.media.model import SampleTable, TrackConfig
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.fragments import FragmentTables, read_fragments
from shared.media.mp4.init import parse_init

log = get_logger()
HASH_STEP = 1 << 20
NEAR_PER_S = 10


def recover(folder: Path, after: int = -1) -> list[SegmentInfo]:
    """Give every segment in `folder` with a sequence above `after`, in order, as its recorder would have given it.

    A part cut short at a file's end is cut off, and a file without a whole part is deleted; what is no segment of
    ours is left alone. `first_of_init` is set only where the init segment lies in the folder. A second call gives
    the same. Raises StoreFull or Unavailable when the disk fails.
    """
    try:
        return _meet(list(_recover(folder, after)))
    except OSError as error:
        raise store_error(error) from error


def _recover(folder: Path, after: int) -> Iterator[SegmentInfo]:
    inits: dict[int, tuple[TrackConfig, ...]] = {}
    last_init: int | None = None
    found = sorted((int(p.stem), p) for p in folder.glob("*.m4s") if p.stem.isdecimal() and len(p.stem) <= 9)
    for sequence, path in found:
        if sequence <= after:
            continue
        try:
            read = read_fragments(path)
            if not read.valid[0]:
                path.unlink()
                continue
            head = read_head(read.heads[0])
            if head.init_number not in inits:
                inits[head.init_number] = _tracks(folder / f"init-{head.init_number}.mp4")
        except Mp4Error as error:
            log.warning("recorder.segment.lost", path=path.name, error=str(error))
            continue
        tracks = inits[head.init_number]
        yield _describe(path, head, read, tracks, first=bool(tracks) and head.init_number != last_init)
        last_init = head.init_number


def _meet(segments: list[SegmentInfo]) -> list[SegmentInfo]:
    """Let a segment end where the next one begins when that is within a frame or so, as their recorder did."""
    for index, (info, following) in enumerate(pairwise(segments)):
        start = -(-following.start * info.timescale // following.timescale)
        apart = abs(start - info.start - info.duration)
        if following.sequence == info.sequence + 1 and apart * NEAR_PER_S < info.timescale and start > info.start:
            segments[index] = replace(info, duration=start - info.start)
    return segments


def _describe(
    path: Path, head: SegmentHead, read: FragmentTables, known: tuple[TrackConfig, ...], *, first: bool
) -> SegmentInfo:
    """Make one file whole, and describe it."""
    size = read.valid[0]
    if path.stat().st_size > size:
        os.truncate(path, size)
    video = read.tables.get(VIDEO_ID)
    return SegmentInfo(
        sequence=int(path.stem),
        path=path,
        init_number=head.init_number,
        first_of_init=first,
        start=head.start,
        duration=max(_end(head, known, read.tables) - head.start, 1),
        timescale=head.timescale,
        wall_start_ms=head.wall_start_ms,
        bytes=size,
        sha256=_digest(path),
        keyframes=() if video is None else tuple(int(t) for t in video.pts[video.sync][:MOST_KEYFRAMES]),
        discontinuity=head.discontinuity,
        independent=head.independent,
    )


def _tracks(init: Path) -> tuple[TrackConfig, ...]:
    """Read an init segment; nothing when it lies here no longer."""
    try:
        return tuple(parse_init(init.read_bytes()))
    except FileNotFoundError:
        return ()


def _end(head: SegmentHead, known: tuple[TrackConfig, ...], tables: dict[int, SampleTable]) -> int:
    """Tell where the samples end, in the segment's timescale."""
    scales = {track.track_id: track.timescale for track in known} or {head.track_id: head.timescale}
    ends: dict[int, int] = {}
    for track, table in tables.items():
        if track in scales and len(table):
            ends[track] = int(table.dts[-1] + table.duration[-1]) * VIDEO_SCALE // scales[track]
    start = head.start * VIDEO_SCALE // head.timescale
    end = segment_end(start, ends.get(VIDEO_ID), ends.get(AUDIO_ID))
    return -(-end * head.timescale // VIDEO_SCALE)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_STEP):
            digest.update(block)
    return digest.hexdigest()
