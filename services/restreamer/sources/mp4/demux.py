"""A local mp4: FFmpeg opens and describes it, usual frames are read without FFmpeg (ADR 20)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from services.restreamer.model import Kind, SourceError
from services.restreamer.sources.containers.known_files import KnownFile, described, is_settled, recall, remember
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.frames import Demux, Demuxing, Raw
from services.restreamer.sources.mp4.run import Cursor, Mp4Run
from services.restreamer.sources.mp4.samples import Samples
from services.restreamer.sources.mp4.tables import read_samples
from services.restreamer.sources.origins.files import LocalFile, Readable

LOOKED: Final = 64
"""Frames, with the first of each track, that must equal FFmpeg's before others are read without it."""
MOST_LOOKED: Final = 1024
MOST_BYTES: Final = 32 << 20
_CODECS: Final[dict[Kind, str]] = {"video": "h264", "audio": "aac"}


def mp4_or(demux: Demux) -> Demux:
    """Return a Demux that opens usual local mp4 files with Mp4Demuxer, and all others with `demux`."""

    def opened(file: Readable, container: Container) -> Demuxing:
        if isinstance(file, LocalFile) and container == "mp4":
            tables = read_samples(file, file.seek(0, os.SEEK_END))
            file.seek(0)
            if tables is not None:
                return Mp4Demuxer(file, tables, demux)
        return demux(file, container)

    return opened


class Mp4Demuxer:
    """Yields the same frames as `demux`, which reads the first ones, and all from an unusual one on.

    The frames in between are read here. Meanwhile no demuxer of `demux` is open, and no child is kept for it.
    """

    container: Container = "mp4"

    def __init__(self, file: LocalFile, tables: list[Samples], demux: Demux) -> None:
        self._file, self._tables, self._demux = file, tables, demux
        self._identity = file.identity()
        self._settled = is_settled(self._identity)
        self._inner: Demuxing | None = None
        self._run: Mp4Run | None = None
        self._error: SourceError | None = None
        self._first: dict[Kind, Raw] = {}
        self._untold: dict[Kind, Raw] = {}  # tracks of which no frame was returned yet
        if known := recall(self._identity):
            self._first, self._untold = dict(known.first), dict(known.first)
            self._run = Mp4Run(file, [Cursor(samples, known.first[samples.kind]) for samples in tables])
        else:
            self._inner = demux(file, "mp4")
        told = known or self._inner
        assert told is not None  # noqa: S101  one of them is set
        self.has_video, self.has_audio = told.has_video, told.has_audio
        self.end, self.created_ms = told.end, told.created_ms
        self.shown_from, self.video_end = told.shown_from, told.video_end
        kinds = ["video"] * self.has_video + ["audio"] * self.has_audio
        self._usual = [samples.kind for samples in tables] == kinds

    @property
    def broken(self) -> SourceError | None:
        """The error with which the file broke off."""
        return self._error or (self._inner.broken if self._inner is not None else None)

    def cover(self) -> bytes | None:
        """Return the cover picture of an audio-only file."""
        return self._inner.cover() if self._inner is not None else None

    def seek(self, at: int) -> bool:
        """Seek to the keyframe at or before a time; return False when the file is not seekable."""
        if self._inner is None and self._run is not None:
            self._run.seek(at)
            return True
        self._usual = False
        return self._opened().seek(at)

    def frames(self) -> Iterator[Raw]:
        """Yield the frames in file order, from the position of the last `seek`."""
        if self._inner is not None and not self._usual:
            yield from self._inner.frames()
            return
        if self._inner is not None:
            self._usual = False  # until `_look` has confirmed it
            theirs, looked = self._inner.frames(), list[Raw]()
            try:
                run = self._look(theirs, looked)
            except SourceError:
                yield from looked
                raise
            if run is None:
                yield from looked
                yield from theirs
                return
            self._run = run
            self._leave()
            yield from looked
        yield from self._own()

    def _own(self) -> Iterator[Raw]:
        """Yield frames without FFmpeg as long as they are usual, then with it."""
        run = self._run
        assert run is not None  # noqa: S101  it is set whenever `_inner` is closed
        untold, self._untold = self._untold, {}
        try:
            yield from described(run.frames(), untold)
        except SourceError as error:
            self._error = error
            return
        if run.stopped:
            yield from self._going_on(run.cursors)
            return
        if self._settled:
            known = KnownFile(self.end, self.created_ms, self.shown_from, self.video_end, self._first)
            remember(self._identity, known)

    def _look(self, theirs: Iterator[Raw], looked: list[Raw]) -> Mp4Run | None:
        """Read the first frames with `demux`; return None when they differ from a Mp4Run's, or the file has no more."""
        first = self._first
        size = 0
        while len(looked) < LOOKED or len(first) < len(self._tables):
            raw = next(theirs, None)
            if raw is None:
                return None
            looked.append(raw)
            first.setdefault(raw.kind, raw)
            size += len(raw.data)
            if len(looked) >= MOST_LOOKED or size > MOST_BYTES:
                return None
        if not all(_is_known(samples, first[samples.kind]) for samples in self._tables):
            return None
        cursors = {samples.kind: Cursor(samples, first[samples.kind]) for samples in self._tables}
        if not all(cursor.is_shown_late() for cursor in cursors.values()):
            return None
        run = Mp4Run(self._file, list(cursors.values()))
        try:
            same = all(run.looked(raw, cursors[raw.kind]) for raw in looked)
        except SourceError:  # `demux` will raise it, too
            return None
        return run if same else None

    def _going_on(self, cursors: Sequence[Cursor]) -> Iterator[Raw]:
        """Yield the frames from the cursors on, read with `demux`."""
        inner = self._opened()
        passed: dict[Kind, int] = {}
        upcoming: list[int] = []
        for cursor in cursors:
            near = cursor.dts(max(cursor.next - 1, 0), cursor.next + 1).tolist()
            if cursor.next:
                passed[cursor.samples.kind] = near.pop(0)
            upcoming += near
        inner.seek(min(upcoming))
        for raw in inner.frames():
            if raw.dts is None or raw.dts > passed.get(raw.kind, raw.dts - 1):
                yield raw

    def _opened(self) -> Demuxing:
        if self._inner is None:
            self._file.seek(0)
            self._inner = self._demux(self._file, "mp4")
        return self._inner

    def close(self) -> None:
        """Close the demuxer of `demux`, if any; the file stays open."""
        self._leave()

    def _leave(self) -> None:
        if self._inner is not None:
            inner, self._inner = self._inner, None
            inner.close()


def _is_known(samples: Samples, first: Raw) -> bool:
    """Return whether a track's description has the configuration of its tables."""
    track = first.track
    if track is None or first.dts is None or track.codec != _CODECS[samples.kind]:
        return False
    return samples.kind == "audio" or track.config == samples.config
