"""A file as a Media: packets from any time on, with times from the file's zero."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from services.restreamer.model import FLICKS, Kind, Packet, SourceError, Track
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.entering import entered, heard
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.containers.timing import (
    BACK,
    FORWARD,
    MOST_BYTES,
    Steady,
    Timed,
    complete,
    merged,
    timed,
)
from services.restreamer.sources.containers.ts_watch import TsFinder
from services.restreamer.sources.containers.watch import Finder, Watch
from services.restreamer.sources.flv.seek import Seekable, flv_from
from services.restreamer.sources.flv.watch import FlvFinder
from services.restreamer.sources.frames import Demux, Demuxing
from services.restreamer.sources.origins.files import Readable
from services.restreamer.sources.pictures import StillImage, decode

BACKS: Final = (0, 3 * FLICKS, 15 * FLICKS, 60 * FLICKS)
SHORT: Final = FLICKS  # an mp4 that ends this much before the end in its index is cut short
SOUND_BEFORE: Final = 64  # audio frames that may come before the picture that they play with
_FINDERS: Final[dict[Container, Callable[[bytes], Finder]]] = {"flv": FlvFinder, "mpegts": TsFinder}
LARGEST_COVER: Final = 4096  # pixels a side
LOOK_AHEAD: Final = 2000  # packets within which an announced track must come


class FileMedia:
    """One file. `again` reopens a file that is not seekable from its start.

    A `part` of a stream starts with its first picture at any time, is read once, and may end anywhere. `demux` opens
    the container: an untrusted one in another process.
    """

    def __init__(
        self,
        file: Readable,
        container: Container,
        *,
        again: Callable[[], Readable] | None = None,
        part: bool = False,
        release: Callable[[], None] | None = None,
        demux: Demux = Demuxer,
    ) -> None:
        self.video: Track | None = None
        self.audio: Track | None = None
        self.resumes: int | None = None
        self._file = file
        self._again = again
        self._release = release
        self._open = demux
        self._seekable = again is None and not part
        self._steady = Steady()
        self._jumped = False
        self._watch: Watch | None = None
        self._ended = False  # the present flow is exhausted
        self._demuxer = self._demux(file, container)
        self.cover: StillImage | None = None
        try:
            self.cover = _cover(self._demuxer.cover())
            flow, self._ahead = self._start()
        except BaseException:
            self._demuxer.close()
            raise
        self._flow_on: Iterator[Timed] | None = flow
        first = next(packet for packet, _ in self._ahead if packet.kind == "video" or not self._demuxer.has_video)
        self._first = first.pts
        shown = None if part else self._demuxer.shown_from
        self.zero = first.pts if shown is None else shown
        self._told_end = None if part else self._demuxer.video_end
        self._first_dts = min(packet.dts for packet, _ in self._ahead)
        end = self._demuxer.end
        changes = self._watch is not None and bool(self._watch.changed)
        self.duration = None if end is None or changes else end - self.zero
        self.wall_start_ms = self._demuxer.created_ms
        self._held: Iterator[Timed] | None = None
        self._end = 0

    def packets(self, start: int) -> Iterator[Packet]:
        """Yield packets from the last keyframe at or before `start`."""
        at, self.resumes = self.resumes, None
        if at == start and self._held is not None:
            flow: Iterable[Timed] = self._held
        elif self._flow_on is not None and (start <= self._first - self.zero or not self._seekable):
            flow = chain(self._ahead, self._flow_on)
        else:
            flow = self._sought(start)
        self._flow_on = self._held = None
        self._ahead = []
        yield from self._played(self._reached(flow, start))

    def _reached(self, flow: Iterable[Timed], start: int) -> Iterator[Timed]:
        """Return packets from the last keyframe at or before `start`, after any changes of codec before it."""
        while True:
            self._ended, self._end = False, 0
            pulled = entered(self._moved(flow), start, video=self._demuxer.has_video)
            first = next(pulled, None)
            beyond = self._ended and self._end <= start and self._watch is not None and bool(self._watch.changed)
            if not beyond:
                return pulled if first is None else chain([first], pulled)
            self._follow(self._end)
            flow, self._held, self.resumes = self._held or (), None, None

    def _moved(self, flow: Iterable[Timed]) -> Iterator[Timed]:
        """Yield packets with times from the file's zero."""
        zero, ends = self.zero, "video" if self._demuxer.has_video else "audio"
        for packet, track in flow:
            moved = packet.later(-zero)
            if packet.kind == ends:
                self._end = max(self._end, moved.pts + moved.duration)
            yield moved, track
        self._ended = True

    def _follow(self, end: int) -> None:
        """Open the part after a change of codec: it continues at the end of the part before."""
        assert self._watch is not None  # noqa: S101  the watch has found the change
        container, rest = self._demuxer.container, self._watch.rest()
        self._demuxer.close()
        self.video = self.audio = self.duration = None
        self._demuxer = self._demux(rest, container)
        flow, ahead = self._start()
        first = next(packet for packet, _ in ahead if packet.kind == "video" or not self._demuxer.has_video)
        gap = first.pts - self.zero - end
        shift = 0 if -BACK < gap < FORWARD else -gap
        self.resumes = first.pts + shift - self.zero
        self._jumped = True
        self._held = ((packet.later(shift), track) for packet, track in chain(ahead, flow))

    def close(self) -> None:
        """Close the file."""
        self._demuxer.close()
        self._file.close()
        if self._release is not None:
            self._release()

    def _demux(self, file: Readable, container: Container) -> Demuxing:
        """Open a demuxer; skip parts before a change of codec that are too short to open."""
        finder = _FINDERS.get(container)
        if finder is None:
            self._watch = None
            return self._open(file, container)
        while True:
            watch = self._watch = Watch(file, finder(file.head()))
            try:
                return self._open(watch, container)
            except SourceError:
                if not watch.changed:
                    raise
                file = watch.rest()

    def _start(self) -> tuple[Iterator[Timed], list[Timed]]:
        """Read up to the first decodable picture, which may come after a change of codec."""
        while True:
            flow = self._flow()
            try:
                return flow, self._look(flow)
            except SourceError:
                if self._watch is None or not self._watch.changed:
                    raise
                rest, container = self._watch.rest(), self._demuxer.container
                self._demuxer.close()
                self.video = self.audio = None
                self._demuxer = self._demux(rest, container)

    def _flow(self) -> Iterator[Timed]:
        """Return all frames from the demuxer's position, with corrected times on the file's own clock."""
        demuxer = self._demuxer
        raws = complete(demuxer.frames())
        if demuxer.container in {"flv", "mpegts"}:
            self._steady = Steady()
            raws = self._steady.run(raws)
        tracks: dict[Kind, Track | None] = {"video": self.video, "audio": self.audio}
        return merged(timed(raws, tracks), demuxer.has_video + demuxer.has_audio)

    def _look(self, flow: Iterator[Timed]) -> list[Timed]:
        """Return the packets up to the first decodable picture, and on until all tracks are known or overdue."""
        ahead = self._to_key(flow)
        if not ahead:
            raise self._demuxer.broken or SourceError("the file has no picture that can be decoded")
        size = 0
        while self.audio is None and self._demuxer.has_audio and len(ahead) < LOOK_AHEAD and size < MOST_BYTES:
            pair = next(flow, None)
            if pair is None:
                break
            ahead.append(pair)
            size += len(pair[0].data)
            if pair[1] is not None and pair[0].kind == "audio":
                self.audio = pair[1]
        return ahead

    def _to_key(self, flow: Iterator[Timed]) -> list[Timed]:
        """Return the first decodable frame, after the audio that plays with it."""
        before: deque[Timed] = deque()
        size = 0
        for packet, track in flow:
            if track is not None:
                self._learn(track)
            if packet.key and (packet.kind == "video" or not self._demuxer.has_video):
                needed = [pair for pair in before if heard(pair[0], packet.pts)]
                return [*needed, (packet, track)]
            if packet.kind == "audio":
                before.append((packet, track))
                size += len(packet.data)
            while len(before) > SOUND_BEFORE or size > MOST_BYTES:
                size -= len(before.popleft()[0].data)
        return []

    def _learn(self, track: Track) -> None:
        if track.kind == "video":
            self.video = track
        else:
            self.audio = track

    def _played(self, flow: Iterator[Timed]) -> Iterator[Packet]:
        """Yield packets until a track changes, and record the time. Raise SourceError when the file is cut short."""
        given: set[Kind] = set()
        changed: Track | None = None
        for pair in flow:
            packet, track = pair
            if track is None and changed is None and packet.kind in given:
                yield packet
                continue
            if track is not None and track != (self.video if packet.kind == "video" else self.audio):
                if packet.kind not in given:
                    self._learn(track)
                else:
                    changed = track
            if changed is not None:
                if packet.key and (packet.kind == "video" or not self._demuxer.has_video):
                    self._learn(changed)
                    if track is not None:
                        self._learn(track)
                    self.resumes = packet.pts
                    self._jumped = self._jumped or self._demuxer.container == "flv"  # FLV announces it only once
                    self._held = ((p.later(self.zero), t) for p, t in chain([pair], flow))
                    return
                if packet.kind == changed.kind:
                    continue  # the old track's decoder cannot decode it
            given.add(packet.kind)
            yield packet
        self._jumped = self._jumped or self._steady.jumped
        if self._watch is not None and self._watch.changed:
            self._follow(self._end)
        else:
            self._check_end(self._end)

    def _check_end(self, end: int) -> None:
        """Raise SourceError when the packets ended before the file's end."""
        if self._demuxer.broken is not None:
            raise self._demuxer.broken
        if self._told_end is not None and self._told_end - self.zero - end > SHORT:
            raise SourceError("the file is cut short: it ends before its time")

    def _sought(self, start: int) -> Iterator[Timed]:
        """Return frames from a keyframe at or before `start`, as near as the file's index allows."""
        self._jumped = self._jumped or self._steady.jumped
        if self._seekable and not self._jumped:
            for back in BACKS:
                if not self._seek(max(self.zero + start - back, self._first_dts)):
                    break
                flow = self._flow()
                found = self._to_key(flow)
                if self._demuxer.broken is not None:
                    break
                if found and found[-1][0].pts - self.zero <= max(start, 0):
                    return chain(found, flow)
        if self._demuxer.broken is not None:
            raise self._demuxer.broken
        return self._rewound()

    def _seek(self, target: int) -> bool:
        """Seek to about a time on the file's own clock, or before; return False when that is not possible."""
        if self._demuxer.container != "flv":
            found = self._demuxer.seek(target)
            if found and self._watch is not None:
                self._watch.look_on()
            return found
        if target <= self._first_dts or not isinstance(self._file, Seekable):
            return False
        file = flv_from(self._file, target)
        if file is None:
            return False
        self._demuxer.close()
        self._demuxer = self._demux(file, "flv")
        return True

    def _rewound(self) -> Iterator[Timed]:
        """Read the file again from its start."""
        container = self._demuxer.container
        self._demuxer.close()
        if self._again is not None:
            self._file.close()
            self._file = self._again()
        elif isinstance(self._file, Seekable):
            self._file.seek(0)
        self._demuxer = self._demux(self._file, container)
        return self._flow()


def _cover(data: bytes | None) -> StillImage | None:
    """Return the decoded cover; None when it cannot be decoded."""
    if data is None:
        return None
    try:
        return decode(data, LARGEST_COVER)
    except SourceError:
        return None
