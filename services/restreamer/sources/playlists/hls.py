"""An m3u8 media playlist as a Media: the segments of a run are one stream of bytes, a discontinuity is a seam.

A missing segment is left out: the segments after it are a separate run, and keep their times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import sniff
from services.restreamer.sources.frames import Demux
from services.restreamer.sources.origins.files import SequentialFile
from services.restreamer.sources.origins.origin import Origin
from services.restreamer.sources.playlists.dates import Dates
from services.restreamer.sources.playlists.holes import Holes
from services.restreamer.sources.playlists.joined import Joined, Missing
from services.restreamer.sources.playlists.playlist import Bytes, Segment
from services.restreamer.sources.playlists.runs import Runs

# FFmpeg remembers every sample of a fragmented mp4: after this time a new demuxer continues.
LONGEST_MP4: Final = 900 * FLICKS
STRAY: Final = 30 * FLICKS
Opener = Callable[[Bytes, bool], Origin]


@dataclass(slots=True)
class _Part:
    """Opened segments from `first` to before `end`; the first picture is at `offset`."""

    media: FileMedia
    joined: Joined
    first: int
    end: int
    offset: int
    used: bool = False


class PlaylistMedia:
    """A playlist's segments.

    `opener` opens a file that the playlist names, with few retries or not; `tell` is called about missing segments.
    """

    def __init__(
        self,
        segments: tuple[Segment, ...],
        opener: Opener,
        release: Callable[[], None] | None = None,
        tell: Callable[[str], None] = lambda _: None,
        demux: Demux = Demuxer,
    ) -> None:
        self._demux = demux
        self._release = release
        self.resumes: int | None = None
        self.duration: int | None = segments[-1].start + segments[-1].duration
        self._list = Runs(segments)
        self._dates = Dates(self._list, self._begin)
        self.wall_start_ms = self._dates.start_ms
        self._holes = Holes(tell)
        self._opener = opener
        self._keys: dict[str, bytes] = {}
        self._part = self._open_some(0)
        self.video: Track | None = self._part.media.video
        self.audio: Track | None = self._part.media.audio

    def packets(self, start: int) -> Iterator[Packet]:
        """Yield packets from the last keyframe at or before `start`; a run's end is a seam."""
        at, self.resumes = self.resumes, None
        fresh = not self._part.used and self._part.first == self._list.present(self._list.index(start))
        if not fresh and (at is None or at != start):
            self._take(self._enter(start))
            self.video, self.audio = self._part.media.video, self._part.media.audio
        while True:
            first, end = self._part.first, self._part.offset
            try:
                for packet in self._packets(start):
                    if packet.kind == "video" or self.video is None:
                        end = max(end, packet.pts + packet.duration)
                    yield packet
            finally:
                self._list.reach(first, end)
            if self.resumes is not None or not self._follow(end):
                return

    def from_wall(self, wall_ms: int, *, out: bool) -> int:
        """Return the time of a wall-clock moment (ms), by its segment, which is opened once to learn its times."""
        return self._dates.time(wall_ms, out=out)

    def close(self) -> None:
        """Close the open part, and release the client."""
        self._part.media.close()
        if self._release is not None:
            self._release()

    def _packets(self, start: int) -> Iterator[Packet]:
        """Yield a part's packets, up to its own seam or a missing segment."""
        part, media = self._part, self._part.media
        part.used = True
        try:
            for packet in media.packets(start - part.offset):
                yield packet.later(part.offset)
        except SourceError:
            if part.joined.missing is None:
                raise
            part.end = self._leave_out(part.first, part.joined.missing)
        self.video, self.audio = media.video, media.audio
        if media.resumes is not None:
            self.resumes = media.resumes + part.offset

    def _follow(self, end: int) -> bool:
        """Open the next part; return whether it continues without a seam."""
        before = max(self._part.end - 1, self._part.first)
        part = self._open(max(self._part.end, before + 1))
        if part is None:
            return False
        seam = self._list.join(before, part.first, end)
        if seam:
            part.offset = self._list.base(self._list.segments[part.first].run)
            self._reach(len(self._list.segments) - 1)
        self._take(part)
        media = part.media
        if not seam and (media.video, media.audio) == (self.video, self.audio):
            return True
        self.video, self.audio = media.video, media.audio
        self.resumes = part.offset
        return False

    def _begin(self, number: int) -> int:
        """Return when a segment's first picture is shown, by the playlist if the segment is missing."""
        if not self._list.is_learned(number):
            end = self._list.end(number, self._longest(number))
            joined = Joined(self._list.segments[number:end], lambda wanted: self._opener(wanted, True), self._keys)
            at = self._list.begin(number)
            try:
                part = self._opened(number, end, joined)
            except Stopped:
                raise
            except SourceError:
                pass
            else:
                at = part.offset
                part.media.close()
            self._list.learn(number, at)
        self._reach(number)
        return self._list.begin(number)

    def _reach(self, number: int) -> None:
        """Extend the duration to a segment's end."""
        self.duration = max(self.duration or 0, self._list.begin(number) + self._list.segments[number].duration)

    def _take(self, part: _Part) -> None:
        self._part.media.close()
        self._part = part

    def _enter(self, start: int) -> _Part:
        """Return a part whose first picture is not after `start`; the run's first part if there is none."""
        index, back = self._list.index(start), 0
        while True:
            first = self._list.first(self._list.segments[index].run)
            part = self._open_some(max(index - back, first))
            if part.offset <= start or part.first == first or part.first > index:
                return part
            part.media.close()
            back = 2 * back or 1

    def _open_some(self, number: int) -> _Part:
        """Return a part from a segment on; raise SourceError when there is none."""
        part = self._open(number)
        if part is None:
            raise self._holes.last or SourceError("the playlist has no segments")
        return part

    def _open(self, number: int) -> _Part | None:
        """Return a part of the segments from `number` on, without missing ones; None when nothing is left."""
        while (number := self._list.present(number)) < len(self._list.segments):
            end = self._list.end(number, self._longest(number))
            joined = Joined(self._list.segments[number:end], self._open_uri, self._keys)
            try:
                part = self._opened(number, end, joined)
            except Stopped:
                raise
            except SourceError:
                if joined.missing is not None:
                    self._leave_out(number, joined.missing)
                elif self._list.is_out(end):  # too little data came before the missing segment
                    self._list.leave_out(number, end)
                else:
                    raise
            else:
                self._holes.none()
                return part
        return None

    def _leave_out(self, first: int, missing: Missing) -> int:
        """Leave out a missing segment of a part that starts at `first`; return its number. Raise SourceError."""
        segments, number = self._list.segments, first + missing.number
        end = self._list.end(number, len(segments) * LONGEST_MP4) if missing.init else number + 1
        if missing.number:
            self._holes.none()
        self._holes.add(segments, number, end - number, missing, init=missing.init)
        self._list.leave_out(number, end)
        return number

    def _opened(self, number: int, end: int, joined: Joined) -> _Part:
        """Return the opened segments, with the time of their first picture."""
        media = _media(joined, self._demux)
        segment = self._list.segments[number]
        try:
            while segment.run not in self._list.zeros:
                self._learn_zero(number, media)
                segment = self._list.segments[number]  # its run may start at another segment now
        except BaseException:
            media.close()
            raise
        told = self._list.time(segment)
        offset = self._list.base(segment.run) + media.zero - self._list.zeros[segment.run]
        strays = abs(offset - told) > max(STRAY, told // 10)  # the run's clock jumps without a discontinuity
        return _Part(media, joined, number, end, told if strays else offset)

    def _learn_zero(self, number: int, media: FileMedia) -> None:
        """Learn the first time on the clock of a segment's run."""
        run = self._list.segments[number].run
        first = self._list.first(run)
        if first == number:
            self._list.zeros[run] = media.zero
            return
        joined = Joined(self._list.segments[first:number], self._open_uri, self._keys)
        try:
            begin = _media(joined, self._demux)
        except SourceError:
            if joined.missing is None:
                raise
            self._leave_out(first, joined.missing)
        else:
            self._list.zeros[run] = begin.zero
            begin.close()

    def _open_uri(self, byte_range: Bytes) -> Origin:
        return self._opener(byte_range, self._holes.hurried)

    def _longest(self, number: int) -> int:
        """Return the longest time that one demuxer reads from a segment on."""
        return LONGEST_MP4 if self._list.segments[number].first is not None else self.duration or 0


def _media(joined: Joined, demux: Demux) -> FileMedia:
    file = SequentialFile(joined)
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        container = sniff(file.head())
        if container not in {"mpegts", "mp4"}:
            raise SourceError("wrong type: the playlist's segments are neither MPEG-TS nor fragmented mp4")
        media = FileMedia(file, container, part=True, demux=demux)
        stack.pop_all()
    return media
