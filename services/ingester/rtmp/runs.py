"""Cuts a publication into runs: FLV streams within which tracks, codecs and codec parameters never change."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.ingester.rtmp.flv import SCRIPT, back_pointer, file_header, tag, tag_header
from services.ingester.rtmp.tags import NEEDS_CONFIG, Media, read_media
from shared.rtmp.amf import EcmaArray, encode
from shared.rtmp.chunks import AUDIO, VIDEO, Payload
from shared.rtmp.cursor import Value
from shared.rtmp.errors import LimitExceeded

_MAX_CONFIG = 64 * 1024


@dataclass(slots=True)
class _Track:
    """What must be known to decode a track: its codec, its sequence header, and further description."""

    codec: str
    config: bytes = b""
    extra: bytes = b""


@dataclass(slots=True)
class _Run:
    """FLV bytes that belong together; nothing of a run is readable before it has started."""

    pieces: list[Payload | bytes] = field(default_factory=list)
    sealed: list[bytes] = field(default_factory=list)
    held: int = 0
    held_since_ns: int = 0
    first_timestamp: int = 0
    started: bool = False
    over: bool = False


class FlvRuns:
    """Takes media messages, gives FLV streams.

    A run starts with its first frame, once both tracks are known, or the metadata says that there is only one, or
    `track_wait_ns` has passed, or `hold` bytes have come. Its header flags name its tracks and those that the metadata
    promises; metadata and all sequence headers follow. A sequence header that says something new, a new codec or a new
    track ends it.
    """

    def __init__(self, *, track_wait_ns: int, hold: int, most: int) -> None:
        self.dropped = 0
        self._track_wait_ns = track_wait_ns
        self._hold = hold
        self._left = most
        self._tracks: dict[int, _Track] = {}
        self._metadata: Mapping[str, Value] = {}
        self._announced: set[int] = set()
        self._first = True
        self._runs: deque[_Run] = deque((_Run(),))

    @property
    def codecs(self) -> tuple[str, ...]:
        """Codecs of the latest tracks, video first."""
        return tuple(self._tracks[kind].codec for kind in (VIDEO, AUDIO) if kind in self._tracks)

    def media(self, kind: int, timestamp: int, payload: Payload, now_ns: int) -> bool:
        """Take an audio or video message, received at `now_ns`; True when it was a frame that is kept."""
        media = read_media(kind, payload)
        if media is None:
            return False
        if media.role != "frame":
            self._configure(kind, timestamp, media)
            return False
        track = self._tracks.get(kind)
        if track is None or track.codec != media.codec:
            if media.codec in NEEDS_CONFIG:
                self.dropped += 1
                return False
            self._change(kind, _Track(media.codec))
        self._frame(kind, timestamp, media, now_ns)
        return True

    def metadata(self, values: Mapping[str, Value]) -> None:
        """Take sanitised metadata; it opens every run from now on, and passes through within one."""
        self._metadata = values
        self._announced = announced_tracks(values)
        run = self._runs[-1]
        if run.started:
            run.pieces.append(_script(values))

    def seal(self) -> None:
        """Copy what was taken since the last call; the payloads' buffers may be used again after it."""
        for run in self._runs:
            if run.pieces:
                run.sealed.append(b"".join(run.pieces))
                run.pieces.clear()

    def finish(self) -> None:
        """No more messages: let a run that still waits for a second track start without it."""
        self._end_run()

    def take(self) -> bytes:
        """Return the bytes ready of the current run, or none."""
        run = self._runs[0]
        if not run.started or not run.sealed:
            return b""
        data = run.sealed[0] if len(run.sealed) == 1 else b"".join(run.sealed)
        run.sealed.clear()
        return data

    @property
    def started(self) -> bool:
        """Whether the current run has something to read."""
        return self._runs[0].started

    @property
    def over(self) -> bool:
        """Whether the current run has ended; `take` may still have its last bytes."""
        return self._runs[0].over

    def advance(self) -> None:
        """Leave a run that is over; the next one becomes the current one."""
        if self.over:
            self._runs.popleft()

    def _configure(self, kind: int, timestamp: int, media: Media) -> None:
        raw = media.prefix + bytes(media.body)
        track = self._tracks.get(kind)
        if len(raw) > _MAX_CONFIG:
            self.dropped += 1
        elif media.role == "config":
            if track is None or raw != track.config:
                self._change(kind, _Track(media.codec, raw))
        elif track is not None and track.codec == media.codec and raw != track.extra:
            track.extra = raw
            if self._runs[-1].started:
                self._runs[-1].pieces.append(tag(kind, timestamp, raw))

    def _change(self, kind: int, track: _Track) -> None:
        run = self._runs[-1]
        # Before the start a new track only completes the header; another codec ends what its frames began.
        if run.started or (run.held and kind in self._tracks):
            self._left -= 1
            if self._left < 0:
                raise LimitExceeded("codec parameters change too often")
            self._end_run()
        self._tracks[kind] = track

    def _frame(self, kind: int, timestamp: int, media: Media, now_ns: int) -> None:
        run = self._runs[-1]
        size = len(media.prefix) + len(media.body)
        if not run.started:
            if not run.held:
                run.held_since_ns, run.first_timestamp = now_ns, timestamp
            run.held += size
            if self._complete(run, now_ns):
                self._start(run)
        pieces = run.pieces
        pieces.append(tag_header(kind, timestamp, size) + media.prefix)
        pieces.append(media.body)
        pieces.append(back_pointer(size + 11))

    def _complete(self, run: _Run, now_ns: int) -> bool:
        known = self._tracks.keys()
        return (
            not self._first
            or len(known) == 2
            or (bool(self._announced) and self._announced <= known)
            or now_ns - run.held_since_ns >= self._track_wait_ns
            or run.held > self._hold
        )

    def _start(self, run: _Run) -> None:
        run.started = True
        self._first = False
        tracks = self._announced | self._tracks.keys()
        head = [file_header(video=VIDEO in tracks, audio=AUDIO in tracks)]
        if self._metadata:
            head.append(_script(self._metadata))
        for kind in (VIDEO, AUDIO):
            track = self._tracks.get(kind)
            if track is not None:
                head += [tag(kind, run.first_timestamp, raw) for raw in (track.config, track.extra) if raw]
        run.sealed.insert(0, b"".join(head))

    def _end_run(self) -> None:
        run = self._runs[-1]
        if run.held and not run.started:
            self._start(run)
        run.over = True
        self._runs.append(_Run())


def announced_tracks(metadata: Mapping[str, Value]) -> set[int]:
    """Tell which tracks (VIDEO, AUDIO) an onMetaData promises."""
    found = set()
    if metadata.get("videocodecid") is not None or metadata.get("width"):
        found.add(VIDEO)
    if metadata.get("audiocodecid") is not None:
        found.add(AUDIO)
    return found


def _script(values: Mapping[str, Value]) -> bytes:
    # At any time but 0 FFmpeg's demuxer takes a script tag for a subtitle.
    return tag(SCRIPT, 0, encode("onMetaData", EcmaArray(values)))
