"""Read frames of a local mp4 by its tables, without FFmpeg (ADR 20). Unusual frames are left to FFmpeg.

A frame takes 14 us through PyAV, and 5 us here. Neighbouring samples of all tracks are read at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from services.restreamer.model import FLICKS
from services.restreamer.sources.containers.key_pictures import is_key
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.mp4.samples import Samples
from services.restreamer.sources.origins.files import LocalFile
from shared.media.model import Int64s

BLOCK: Final = 1 << 18
"""Bytes of samples that are read at once: they stay in the CPU caches until they are parsed."""
WINDOW: Final = 512
"""Samples of each track that are sorted at once."""
_GAP: Final = 1 << 12
"""The largest gap between samples, in bytes, that is read with them."""
_Rows = tuple[list[int], list[int], list[int], list[int], list[int], list[bool]]


class Cursor:
    """A track: its samples, the offset in ticks of their times, and the index of the next one.

    `length` is the duration of each frame in flicks, if its codec fixes one.
    """

    def __init__(self, samples: Samples, first: Raw) -> None:
        self.samples = samples
        self.next = 0
        self.length = first.duration if samples.kind == "audio" else 0
        self._dts_later = self._ticks(first.dts or 0)
        self._pts_later = self._ticks(first.pts) - self._dts_later - int(samples.shown[0])

    def _ticks(self, flicks: int) -> int:
        return (2 * flicks * self.samples.timescale + FLICKS) // (2 * FLICKS)

    def dts(self, begin: int, end: int) -> Int64s:
        """Return the samples' decode times in flicks."""
        return _flicks(self.samples.dts[begin:end] + self._dts_later, self.samples.timescale)

    def pts(self, begin: int, end: int) -> Int64s:
        """Return the samples' presentation times in flicks."""
        ticks = self.samples.dts[begin:end] + self.samples.shown[begin:end] + (self._dts_later + self._pts_later)
        return _flicks(ticks, self.samples.timescale)

    def durations(self, begin: int, end: int) -> Int64s:
        """Return the samples' durations in flicks."""
        if self.length:
            return np.full(min(end, len(self.samples)) - begin, self.length, np.int64)
        return _flicks(self.samples.duration[begin:end].astype(np.int64), self.samples.timescale)

    def is_shown_late(self) -> bool:
        """Return whether no sample is shown before it is decoded."""
        return int(self.samples.shown.min()) + self._pts_later >= 0

    def time(self, n: int) -> int:
        """Return a sample's decode time in ticks."""
        return int(self.samples.dts[n]) + self._dts_later

    def find(self, ticks: int) -> int:
        """Return the sample that FFmpeg seeks for a time, if each were a keyframe (mov_seek_stream)."""
        earlier = self.samples.early + self._pts_later + self._dts_later
        return max(int(np.searchsorted(self.samples.dts, ticks - earlier, "right")) - 1, 0)


class Mp4Run:
    """Reads frames in the order of decode times. `stopped`: the next frame is unusual or missing."""

    def __init__(self, file: LocalFile, cursors: Sequence[Cursor]) -> None:
        self.stopped = False
        self.cursors = cursors
        self._file = file
        self._buffer = bytearray(BLOCK)

    def frames(self) -> Iterator[Raw]:
        """Yield frames from the cursors on. Raise SourceError when the file cannot be read."""
        while not self.stopped:
            rows = self._window()
            kinds = rows[-1]
            if not kinds:
                return
            begin, filled = 0, 0
            for n, size in enumerate(rows[1]):
                if filled and filled + size > BLOCK:
                    yield from self._turn(rows, begin, n)
                    if self.stopped:
                        return
                    begin, filled = n, 0
                filled += size
            yield from self._turn(rows, begin, len(kinds))

    def seek(self, at: int) -> None:
        """Seek to the keyframe at or before a time (flicks), and to the audio of its decode time, like FFmpeg."""
        video = self.cursors[0]
        samples = video.samples
        near = video.find(at * samples.timescale // FLICKS)
        video.next = int(samples.sync[np.searchsorted(samples.sync, near, "right") - 1])
        for cursor in self.cursors[1:]:
            cursor.next = cursor.find(_rescaled(video.time(video.next), samples.timescale, cursor.samples.timescale))
        self.stopped = False

    def looked(self, raw: Raw, cursor: Cursor) -> bool:
        """Return whether a frame equals the cursor's next sample, and advance the cursor."""
        samples, n = cursor.samples, cursor.next
        if n >= len(samples):
            return False
        cursor.next = n + 1
        data = bytearray(int(samples.size[n]))
        if self._file.read_at(int(samples.offset[n]), memoryview(data)) < len(data):
            return False
        key = raw.kind == "audio" or is_key(data, 0, len(data))
        times = int(cursor.dts(n, n + 1)[0]), int(cursor.pts(n, n + 1)[0]), int(cursor.durations(n, n + 1)[0])
        return (raw.dts, raw.pts, raw.duration, raw.key, raw.data) == (*times, key, bytes(data))

    def _window(self) -> _Rows:
        """Return the next samples of all tracks in order: offsets, sizes, dts, pts, durations, whether it is video."""
        ends = [min(cursor.next + WINDOW, len(cursor.samples)) for cursor in self.cursors]
        parts = [cursor.dts(cursor.next, end) for cursor, end in zip(self.cursors, ends, strict=True)]
        dts = np.concatenate(parts)
        order = np.argsort(dts, kind="stable")  # the picture first
        dts = dts[order]
        cut = [
            int(p[-1]) for p, end, cursor in zip(parts, ends, self.cursors, strict=True) if end < len(cursor.samples)
        ]
        if cut:  # after this time, earlier samples of the other track may be outside the window
            order = order[: int(np.searchsorted(dts, min(cut), "right"))]
        dts = dts[: len(order)]
        columns = (
            [cursor.samples.offset[cursor.next : end] for cursor, end in zip(self.cursors, ends, strict=True)],
            [cursor.samples.size[cursor.next : end] for cursor, end in zip(self.cursors, ends, strict=True)],
            [cursor.pts(cursor.next, end) for cursor, end in zip(self.cursors, ends, strict=True)],
            [cursor.durations(cursor.next, end) for cursor, end in zip(self.cursors, ends, strict=True)],
        )
        offsets, sizes, pts, durations = (np.concatenate(column)[order].tolist() for column in columns)
        return offsets, sizes, dts.tolist(), pts, durations, (order < len(parts[0])).tolist()

    def _turn(self, rows: _Rows, begin: int, end: int) -> Iterator[Raw]:
        """Read samples of a window and yield their frames."""
        offsets, sizes, dts, pts, durations = (column[begin:end] for column in rows[:5])
        pictures, positions = rows[5], self._load(offsets, sizes)
        if positions is None:
            self.stopped = True
            return
        video, audio = self.cursors[0], self.cursors[-1]
        whole = memoryview(self._buffer)
        for n, at in enumerate(positions):
            data = bytes(whole[at : at + sizes[n]])
            if not pictures[begin + n]:
                audio.next += 1
                yield Raw("audio", dts[n], pts[n], durations[n], True, data, None)
                continue
            key = is_key(data, 0, len(data))
            if key is None:
                self.stopped = True
                return
            video.next += 1
            yield Raw("video", dts[n], pts[n], durations[n], key, data, None)

    def _load(self, offsets: list[int], sizes: list[int]) -> list[int] | None:
        """Read samples into the buffer, neighbouring ones at once; return the offset of each in the buffer.

        None when the file does not have them any more.
        """
        positions = [0] * len(offsets)
        runs: list[tuple[int, int]] = []
        begin = end = -_GAP
        filled = 0
        for n in sorted(range(len(offsets)), key=offsets.__getitem__):
            at = offsets[n]
            if at > end + _GAP:
                if end > begin:
                    runs.append((begin, end))
                    filled += end - begin
                begin = end = at
            positions[n] = filled + at - begin
            end = max(end, at + sizes[n])
        runs.append((begin, end))
        filled += end - begin
        if filled > len(self._buffer) or (len(self._buffer) > filled + 4 * BLOCK):
            self._buffer = bytearray(max(filled, BLOCK))
        room, at = memoryview(self._buffer), 0
        for begin, end in runs:
            if self._file.read_at(begin, room[at : at + end - begin]) < end - begin:
                return None
            at += end - begin
        return positions


def _flicks(ticks: Int64s, timescale: int) -> Int64s:
    """Return ticks in flicks, rounded as in Demuxer, without overflow."""
    if FLICKS % timescale == 0:
        return ticks * (FLICKS // timescale)
    seconds, rest = np.divmod(ticks, timescale)
    found: Int64s = seconds * FLICKS + (rest * FLICKS + timescale // 2) // timescale
    return found


def _rescaled(ticks: int, base: int, into: int) -> int:
    """Return ticks in another timescale, halves rounded away from zero (av_rescale_q)."""
    whole = (2 * abs(ticks) * into + base) // (2 * base)
    return whole if ticks >= 0 else -whole
