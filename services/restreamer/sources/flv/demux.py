"""A local FLV file: FFmpeg opens and describes it, usual tags are read without FFmpeg (ADR 20)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from services.restreamer.model import Kind, SourceError, Track
from services.restreamer.sources.containers.known_files import KnownFile, described, is_settled, recall, remember
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.containers.watch import Watch
from services.restreamer.sources.flv.run import Begin, Run, read_begin
from services.restreamer.sources.flv.seek import FlvFrom
from services.restreamer.sources.frames import Demux, Demuxing, Raw
from services.restreamer.sources.origins.files import LocalFile, Readable

MOST_LOOKED: Final = 256
"""Frames within which each track must have begun."""
MOST_BYTES: Final = 32 << 20
"""Bytes of these frames."""
MOST_TRACKS: Final = 16
"""How many descriptions are kept, because a track may come again."""


def flv_or(demux: Demux) -> Demux:
    """Return a Demux that opens local FLV files with FlvDemuxer, and all others with `demux`."""

    def opened(file: Readable, container: Container) -> Demuxing:
        if isinstance(file, Watch) and isinstance(file.file, LocalFile) and container == "flv":
            begin = read_begin(file.file)
            file.file.seek(0)
            if begin is not None:
                return FlvDemuxer(file, file.file, begin, demux)
        return demux(file, container)

    return opened


class FlvDemuxer:
    """Yields the same frames as `demux`, which reads the first ones, and all from an unusual tag on.

    The frames in between are read here. Meanwhile no demuxer of `demux` is open, and no child is kept for it.
    """

    container: Container = "flv"

    def __init__(self, watch: Watch, file: LocalFile, begin: Begin, demux: Demux) -> None:
        self._watch, self._file, self._begin, self._demux = watch, file, begin, demux
        self._identity = file.identity()
        self._settled = is_settled(self._identity)
        known = recall(self._identity)
        self._inner: Demuxing | None = None
        if known is None:
            self._inner = demux(watch, "flv")
            self.has_video, self.has_audio = self._inner.has_video, self._inner.has_audio
            self.end, self.created_ms = self._inner.end, self._inner.created_ms
        else:
            self.has_video, self.has_audio = known.has_video, known.has_audio
            self.end, self.created_ms = known.end, known.created_ms
        self._first: dict[Kind, Raw] = dict(known.first) if known is not None else {}
        self.shown_from: int | None = None
        self.video_end: int | None = None
        self._error: SourceError | None = None
        self._tracks: dict[bytes, Track] = {}  # by their configuration

    @property
    def broken(self) -> SourceError | None:
        """The error with which the file broke off."""
        return self._error or (self._inner.broken if self._inner is not None else None)

    def cover(self) -> bytes | None:
        """Return None: an FLV has no cover picture."""
        return None

    def seek(self, at: int) -> bool:
        """Return False: an FLV is entered in the middle as another file (`flv_from`)."""
        del at
        return False

    def frames(self) -> Iterator[Raw]:
        """Yield all frames from the first on."""
        theirs, looked = iter(() if self._inner is None else self._inner.frames()), deque[Raw]()
        try:
            usual = self._inner is None or self._look(theirs, looked)
        except SourceError:
            yield from looked
            raise
        run = Run(self._file, self._begin, (self._length("video"), self._length("audio"))) if usual else None
        ours = run.frames() if run is not None else iter(())
        try:
            while looked and next(ours, None) == replace(looked[0], track=None):
                yield looked.popleft()
            if run is not None and not looked:
                known = self._inner is None
                self._leave()
                yield from map(self._as_known, described(ours, self._first)) if known else ours
        except SourceError as error:
            self._error = error
            return
        if run is not None and not looked:
            if run.stopped is None:
                if self._settled:
                    remember(self._identity, KnownFile(self.end, self.created_ms, None, None, self._first))
                return
            theirs = self._going_on(run.stopped)
        yield from looked
        yield from map(self._as_known, theirs)

    def _length(self, kind: Kind) -> int:
        return self._first[kind].duration if kind in self._first else 0

    def _look(self, theirs: Iterator[Raw], looked: deque[Raw]) -> bool:
        """Read the first frames of all tracks with `demux`; return False when the configurations differ."""
        first, size = self._first, 0
        while len(first) < self.has_video + self.has_audio:
            if len(looked) == MOST_LOOKED or size > MOST_BYTES or (raw := next(theirs, None)) is None:
                return False
            size += len(raw.data)
            looked.append(self._as_known(raw))
            first.setdefault(raw.kind, raw)
        video, audio = first.get("video"), first.get("audio")
        known = _is(video, "h264", self._begin.avc) and (audio is None or _is(audio, "aac", self._begin.aac))
        return known and not self._watch.changed and (audio is None) != bool(self._begin.aac)

    def _going_on(self, at: int) -> Iterator[Raw]:
        """Return the frames from a tag on, read with `demux`."""
        file = FlvFrom(self._watch, self._begin.head, at)
        self._watch.look_on(known=True)
        self._inner = self._demux(file, "flv")
        return self._inner.frames()

    def _as_known(self, raw: Raw) -> Raw:
        """Return the frame with the known description of an unchanged track, even if FFmpeg now finds another rate."""
        if raw.track is None:
            return raw
        known = self._tracks.setdefault(raw.track.config, raw.track)
        if len(self._tracks) > MOST_TRACKS:
            del self._tracks[next(iter(self._tracks))]
        return raw if known == raw.track else replace(raw, track=known)

    def close(self) -> None:
        """Close the demuxer of `demux`, if any; the file stays open."""
        self._leave()

    def _leave(self) -> None:
        if self._inner is not None:
            inner, self._inner = self._inner, None
            inner.close()


def _is(raw: Raw | None, codec: str, config: bytes) -> bool:
    return raw is not None and raw.track is not None and (raw.track.codec, raw.track.config) == (codec, config)
