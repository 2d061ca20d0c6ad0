"""Reads what a segment's file says about it: its head, and its samples' times (ADR 2). For salvage and a lost index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from shared.media.model import SampleTable
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from shared.media.segment_head import SegmentHead, read_head
from shared.media.tracks import TrackConfig

VIDEO_ID, AUDIO_ID = 1, 2
"""Track ids in every init segment; further sound tracks have those from 3 on."""
MOST_SOUNDS: Final = 4
VIDEO_SCALE: Final = 90000
MOST_KEYFRAMES: Final = 4096
"""Further keyframes are not listed: time stamps that hardly rise can make more. The file still holds them."""
HASH_STEP: Final = 1 << 20
NEAR_PER_S: Final = 10
"""A segment ends where the next one begins if that is within a tenth of a second, as its recorder wrote it."""
Tracks = tuple[TrackConfig, ...]


class SegmentFile(NamedTuple):
    """A segment as its file describes it. `size` is the bytes of its whole parts."""

    head: SegmentHead
    size: int
    duration: int
    keyframes: tuple[int, ...]


def read_segment(path: Path, tracks_of: Callable[[int], Tracks]) -> SegmentFile | None:
    """Read a segment's file; None without a whole part. `tracks_of` returns an init segment's tracks by its number.

    Mp4Error for a file that is no segment of ours, OSError from the disk.
    """
    read = read_fragments(path)
    size = read.valid[0]
    if not size:
        return None
    head = read_head(read.heads[0])
    end = _end(head, tracks_of(head.init_number), read.tables)
    video = read.tables.get(VIDEO_ID)
    keyframes = () if video is None else tuple(int(tick) for tick in video.pts[video.sync][:MOST_KEYFRAMES])
    return SegmentFile(head, size, max(end - head.start, 1), keyframes)


def read_tracks(init: Path) -> Tracks:
    """Read an init segment's tracks; empty when it is gone or damaged."""
    try:
        return tuple(parse_init(init.read_bytes()))
    except (FileNotFoundError, Mp4Error):
        return ()


def digest(path: Path, size: int) -> str:
    """Return the SHA-256 of a file's first `size` bytes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(HASH_STEP, size))):
            found.update(block)
            size -= len(block)
    return found.hexdigest()


def met(start: int, duration: int, timescale: int, following: int, following_scale: int) -> int:
    """Return a segment's duration so that it ends where the next one begins, if that is near."""
    at = -(-following * timescale // following_scale)
    near = abs(at - start - duration) * NEAR_PER_S < timescale
    return at - start if near and at > start else duration


def segment_end(start: int, video_end: int | None, audio_end: int | None) -> int:
    """Return a segment's end from its tracks' ends (90 kHz): the video's, unless that stopped long before."""
    if video_end is None or (audio_end is not None and audio_end - video_end > 2 * VIDEO_SCALE):
        return start if audio_end is None else audio_end
    return video_end


def _end(head: SegmentHead, known: Tracks, tables: dict[int, SampleTable]) -> int:
    """Return the end of the samples, in the segment's timescale."""
    scales = {track.track_id: track.timescale for track in known} or {head.track_id: head.timescale}
    ends: dict[int, int] = {}
    for track, table in tables.items():
        if track in scales and len(table):
            ends[track] = int(table.dts[-1] + table.duration[-1]) * VIDEO_SCALE // scales[track]
    start = head.start * VIDEO_SCALE // head.timescale
    end = segment_end(start, ends.get(VIDEO_ID), ends.get(AUDIO_ID))
    return -(-end * head.timescale // VIDEO_SCALE)
