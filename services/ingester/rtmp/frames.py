"""Reading a publication's media messages: its tracks and their frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from services.ingester.publication import Contents, Frame, Kind
from services.ingester.recorder.unwrap import Unwrapper
from services.ingester.rtmp.further import MAIN, FurtherTracks
from services.ingester.rtmp.reader import FrameReader
from services.ingester.rtmp.tags import MAX_CONFIG, NEEDS_CONFIG, Media, read_media, read_multitrack
from shared.media.timecode import Label
from shared.rtmp.chunks import AUDIO, VIDEO, Payload
from shared.rtmp.cursor import Value
from shared.rtmp.errors import LimitExceeded

_KINDS: Final[tuple[tuple[int, Kind], ...]] = ((VIDEO, "video"), (AUDIO, "audio"))


class Taker(Protocol):
    """Receives a publication's messages, in the publication's thread."""

    @property
    def dropped(self) -> int:
        """The number of frames that came before the sequence header they need."""
        ...

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs of the tracks known so far, video first, as FOURCCs (avc1, hvc1, mp4a, Opus ...)."""
        ...

    def media(self, kind: int, timestamp: int, payload: Payload, now_ns: int) -> bool:
        """Take an audio or video message, received at `now_ns`; return whether it was a frame that is kept."""
        ...

    def metadata(self, values: Mapping[str, Value]) -> None:
        """Take sanitised metadata."""
        ...

    def timecode(self, timestamp: int, label: Label) -> None:
        """Take the timecode of the picture that is shown at a timestamp."""
        ...

    def finish(self) -> None:
        """Handle the end of the stream."""
        ...


@dataclass(slots=True)
class _Track:
    """A track's codec and sequence header; `told`: the reader has them."""

    codec: str
    config: bytes | None = None
    told: bool = False


class Given(NamedTuple):
    """Frames between two track changes, the contents known by then, and the bytes of their messages."""

    frames: list[Frame]
    contents: Contents
    bytes: int


class MediaFrames:
    """Turns media messages into frames.

    The first frames wait until both tracks are known, or the metadata announces only one, or `track_wait_ns` has
    passed, or more than `hold` bytes have come. A new codec, sequence header or track applies from the next frame of
    any track on; at most `most` such changes are allowed.
    """

    def __init__(self, *, track_wait_ns: int, hold: int, most: int) -> None:
        self.dropped = 0
        self._track_wait_ns = track_wait_ns
        self._hold = hold
        self._left = most
        clock = Unwrapper(32)
        self._reader, self._further = FrameReader(clock), FurtherTracks(clock)
        self._tracks: dict[int, _Track] = {}
        self._announced: frozenset[int] = frozenset()
        self._promised: frozenset[int] = frozenset()
        self._flowing = False  # a frame was read since the last change
        self._first = True  # no frame was read yet
        self._held: list[tuple[int, str, int, int, bytes]] = []
        self._held_bytes = self._held_since_ns = 0
        self._contents = Contents()
        self._bytes = 0
        self._given: list[Given] = []

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs of the latest tracks, video first."""
        return tuple(self._tracks[kind].codec for kind in (VIDEO, AUDIO) if kind in self._tracks)

    @property
    def damaged(self) -> int:
        """The number of unreadable messages."""
        return self._reader.damaged + self._further.damaged

    @property
    def contents(self) -> Contents:
        """The tracks that are announced or described; the same object while nothing changes."""
        unsupported, further = self._reader.unsupported | self._further.unsupported, self._further.count
        expected = frozenset(
            name
            for kind, name in _KINDS
            if self._reader.describes(name)
            or (kind in self._promised and not any(each.endswith(name) for each in unsupported))
        )
        contents = self._contents
        fresh = Contents(expected, frozenset(unsupported), further)
        if contents != fresh:
            self._contents = fresh
        return self._contents

    def media(self, kind: int, timestamp: int, payload: Payload, now_ns: int) -> bool:
        """Take an audio or video message, received at `now_ns`; return whether it was a frame that is kept."""
        media = read_media(kind, payload)
        if media is None:
            tracks = read_multitrack(payload) if kind == AUDIO else ()
            kept = [self._track(number, one, timestamp, len(payload), now_ns) for number, one in tracks]
            return any(kept)
        return self._media(kind, timestamp, media, len(payload), now_ns)

    def _track(self, number: int, media: Media, timestamp: int, size: int, now_ns: int) -> bool:
        """Take one track's part of a multitrack message."""
        if number == MAIN:
            return self._media(AUDIO, timestamp, media, size, now_ns)
        frames = self._further.take(number, timestamp, media)
        self._bytes += len(media.data)
        self._reader.add(frames)
        return bool(frames)

    def _media(self, kind: int, timestamp: int, media: Media, size: int, now_ns: int) -> bool:
        if media.role != "frame":
            self._configure(kind, media)
            return False
        track = self._tracks.get(kind)
        if track is None or track.codec != media.codec:
            if media.codec in NEEDS_CONFIG:
                self.dropped += 1
                return False
            self._change(kind, _Track(media.codec))
        self._frame(kind, timestamp, media, size, now_ns)
        return True

    def metadata(self, values: Mapping[str, Value]) -> None:
        """Take sanitised metadata; its announcement applies from the next track change on."""
        self._announced = announced_tracks(values)

    def timecode(self, timestamp: int, label: Label) -> None:
        """Take a timecode; it goes with the next picture."""
        self._reader.timecode(timestamp, label)

    def finish(self) -> None:
        """End the stream: read the frames that waited for a second track."""
        if self._held:
            self._start()
        self._reader.finish()
        self._reader.add(self._further.finish())

    def take(self) -> list[Given]:
        """Return what was read since the last call, split at track changes."""
        self._part()
        given, self._given = self._given, []
        return given

    def _part(self) -> None:
        frames = self._reader.take()
        if frames or self._bytes:
            self._given.append(Given(frames, self.contents, self._bytes))
            self._bytes = 0

    def _configure(self, kind: int, media: Media) -> None:
        if len(media.data) > MAX_CONFIG:
            self.dropped += 1
        elif media.role == "extra" and kind == VIDEO:
            self._reader.colours(bytes(media.data))
        elif media.role == "config":
            track, config = self._tracks.get(kind), bytes(media.data)
            if track is None or track.codec != media.codec or track.config != config:
                self._change(kind, _Track(media.codec, config))

    def _change(self, kind: int, track: _Track) -> None:
        # Before the start a new track only completes the tracks; a new codec follows the frames of the previous one.
        if self._flowing or (self._held and kind in self._tracks):
            self._left -= 1
            if self._left < 0:
                raise LimitExceeded("codec parameters change too often")
            if self._held:
                self._start()
            self._part()
            self._flowing = False
        self._tracks[kind] = track

    def _frame(self, kind: int, timestamp: int, media: Media, size: int, now_ns: int) -> None:
        _, codec, data, offset = media
        if not self._flowing:
            if not self._held:
                self._held_since_ns = now_ns
            self._held_bytes += size
            if not self._is_complete(now_ns):
                self._held.append((kind, codec, timestamp, offset, bytes(data)))
                return
            self._start()
        self._bytes += size
        self._reader.read(kind, codec, timestamp, offset, bytes(data))

    def _is_complete(self, now_ns: int) -> bool:
        known = self._tracks.keys()
        return (
            not self._first
            or len(known) == 2
            or (bool(self._announced) and self._announced <= known)
            or now_ns - self._held_since_ns >= self._track_wait_ns
            or self._held_bytes > self._hold
        )

    def _start(self) -> None:
        """Describe the tracks known so far to the reader, then read the held frames."""
        self._flowing, self._first = True, False
        self._promised = self._announced | self._tracks.keys()
        for kind in (VIDEO, AUDIO):
            track = self._tracks.get(kind)
            if track is not None and not track.told:
                track.told = True
                if track.config is not None:
                    self._reader.describe(kind, track.codec, track.config)
        held, self._held = self._held, []
        for frame in held:
            self._bytes += len(frame[-1])
            self._reader.read(*frame)
        self._held_bytes = 0


def announced_tracks(metadata: Mapping[str, Value]) -> frozenset[int]:
    """Return the tracks (VIDEO, AUDIO) that an onMetaData announces."""
    found = set()
    if metadata.get("videocodecid") is not None or metadata.get("width"):
        found.add(VIDEO)
    if metadata.get("audiocodecid") is not None:
        found.add(AUDIO)
    return frozenset(found)
