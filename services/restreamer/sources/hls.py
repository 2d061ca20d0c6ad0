"""An m3u8 media playlist as a Media: the segments of a run are one stream of bytes, a discontinuity is a seam."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.sources.file_media import FileMedia
from services.restreamer.sources.files import SequentialFile
from services.restreamer.sources.origin import Origin
from services.restreamer.sources.playlist import NESTED, Bytes, Key, Segment
from services.restreamer.sources.sniff import is_playlist, sniff

# FFmpeg remembers every sample of a fragmented mp4: after so much of it a new demuxer goes on.
LONGEST_MP4: Final = 900 * FLICKS
STRAY: Final = 30 * FLICKS
LONGEST_INIT: Final = 1 << 20
KEY: Final = 16
Opener = Callable[[Bytes], Origin]


class _Joined:
    """The bytes of segments one after the other, their init segment first."""

    ranged = False

    def __init__(self, segments: Sequence[Segment], opener: Opener, keys: dict[str, bytes]) -> None:
        self.size: int | None = None
        self._segments = segments
        self._opener = opener
        self._keys = keys
        self._open: Origin | None = None

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:  # noqa: ARG002  all, from its start
        """Give everything."""
        begin = self._segments[0]
        if begin.first is not None:
            yield self._init(begin.first, begin.first_key)
        for segment in self._segments:
            pieces = self._bytes(segment.bytes)
            yield from pieces if segment.key is None else self._deciphered(pieces, segment.key, segment.sequence)

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _init(self, place: Bytes, key: Key | None) -> bytes:
        """Read an init segment. A key that stands before it seals it (RFC 8216, 4.3.2.4); some leave it open."""
        data = bytearray()
        for piece in self._bytes(place):
            data += piece
            if len(data) > LONGEST_INIT:
                raise SourceError("the playlist's init segment (EXT-X-MAP) is too large")
        if key is None or bytes(data[4:8]) in {b"ftyp", b"styp", b"moov", b"free"}:
            return bytes(data)
        return b"".join(self._deciphered(iter([bytes(data)]), key, 0))

    def _bytes(self, place: Bytes) -> Iterator[bytes]:
        self._open = origin = self._opener(place)
        begun = False
        try:
            for piece in origin.stream(place.start, None if place.length is None else place.start + place.length):
                if not begun and is_playlist(piece):
                    raise SourceError(NESTED)
                begun = True
                yield piece
        finally:
            origin.close()

    def _deciphered(self, pieces: Iterator[bytes], key: Key, sequence: int) -> Iterator[bytes]:
        """Decrypt a segment: AES-128 in CBC mode, padded as PKCS7 says (RFC 8216, 4.3.2.4)."""
        if key.uri not in self._keys:
            self._keys[key.uri] = b"".join(self._bytes(Bytes(key.uri, 0, KEY)))
        secret, vector = self._keys[key.uri], key.iv or sequence.to_bytes(KEY, "big")
        if len(secret) != KEY:
            raise SourceError("the playlist's key has not 16 bytes")
        cipher = Cipher(algorithms.AES128(secret), modes.CBC(vector)).decryptor()
        last = b""
        for piece in pieces:
            last += cipher.update(piece)
            if len(last) > KEY:
                yield last[:-KEY]
                last = last[-KEY:]
        yield last[: -last[-1]] if last and 1 <= last[-1] < KEY else b""


@dataclass(slots=True)
class _Part:
    """Segments `first` to before `end`, opened; its first picture is at `offset`."""

    media: FileMedia
    first: int
    end: int
    offset: int
    used: bool = False


class PlaylistMedia:
    """A playlist's segments. `opener` opens what a URI in it names."""

    def __init__(
        self, segments: tuple[Segment, ...], opener: Opener, release: Callable[[], None] | None = None
    ) -> None:
        self._release = release
        self.resumes: int | None = None
        self.duration: int | None = segments[-1].start + segments[-1].duration
        dated = next((s for s in segments if s.wall_ms is not None), None)
        self.wall_start_ms = None if dated is None else (dated.wall_ms or 0) - dated.start * 1000 // FLICKS
        self._segments = segments
        self._opener = opener
        self._keys: dict[str, bytes] = {}
        self._firsts = {s.run: n for n, s in reversed(list(enumerate(segments)))}
        self._zeros: dict[int, int] = {}
        self._bases: dict[int, int] = {}
        self._part = self._open(0)
        self.video: Track | None = self._part.media.video
        self.audio: Track | None = self._part.media.audio

    def packets(self, start: int) -> Iterator[Packet]:
        """Give packets from the last keyframe at or before `start`; a run's end is a seam."""
        at, self.resumes = self.resumes, None
        fresh = not self._part.used and self._part.first == self._index(start)
        if not fresh and (at is None or at != start):
            self._take(self._enter(start))
            self.video, self.audio = self._part.media.video, self._part.media.audio
        while True:
            end = self._part.offset
            for packet in self._packets(start):
                if packet.kind == "video" or self.video is None:
                    end = max(end, packet.pts + packet.duration)
                yield packet
            if self.resumes is not None or not self._follow(end):
                return

    def from_wall(self, wall_ms: int) -> int:
        """Give the time of a wall-clock moment (ms), by the segment that it falls into."""
        dated = [s for s in self._segments if s.wall_ms is not None and s.wall_ms <= wall_ms]
        segment = dated[-1] if dated else self._segments[0]
        began = segment.wall_ms if dated and segment.wall_ms is not None else self.wall_start_ms or 0
        return self._time(segment) + (wall_ms - began) * FLICKS // 1000

    def close(self) -> None:
        """Close what is open."""
        self._part.media.close()
        if self._release is not None:
            self._release()

    def _packets(self, start: int) -> Iterator[Packet]:
        """Give a part's packets; where it has a seam itself, so have we."""
        part, media = self._part, self._part.media
        part.used = True
        for packet in media.packets(start - part.offset):
            yield packet.later(part.offset)
        self.video, self.audio = media.video, media.audio
        if media.resumes is not None:
            self.resumes = media.resumes + part.offset

    def _follow(self, end: int) -> bool:
        """Open the part that comes next; tell whether it goes on without a seam."""
        number = self._part.end
        if number == len(self._segments):
            return False
        run = self._segments[number].run
        seam = run != self._segments[number - 1].run
        if seam:
            self._bases[run] = end
        self._take(self._open(number))
        media = self._part.media
        if not seam and (media.video, media.audio) == (self.video, self.audio):
            return True
        self.video, self.audio = media.video, media.audio
        self.resumes = self._part.offset
        return False

    def _take(self, part: _Part) -> None:
        self._part.media.close()
        self._part = part

    def _enter(self, start: int) -> _Part:
        """Open a part whose first picture is not after `start`; a run's first one where none is."""
        index = self._index(start)
        back, first = 0, self._firsts[self._segments[index].run]
        while True:
            part = self._open(max(index - back, first))
            if part.offset <= start or part.first == first:
                return part
            part.media.close()
            back = 2 * back or 1

    def _open(self, number: int) -> _Part:
        """Open the segments from `number` on, to the end of their run."""
        segment = self._segments[number]
        longest = LONGEST_MP4 if segment.first is not None else self.duration or 0
        end = number + 1
        while end < len(self._segments) and self._segments[end].run == segment.run:
            if self._segments[end].start - segment.start >= longest:
                break
            end += 1
        media = self._media(number, end)
        if number == self._firsts[segment.run]:
            self._zeros[segment.run] = media.zero
        elif segment.run not in self._zeros:
            first = self._media(self._firsts[segment.run], number)
            self._zeros[segment.run] = first.zero
            first.close()
        told = self._time(segment)
        offset = self._base(segment.run) + media.zero - self._zeros[segment.run]
        strays = abs(offset - told) > max(STRAY, told // 10)  # the run's clock jumps without a word
        return _Part(media, number, end, told if strays else offset)

    def _media(self, number: int, end: int) -> FileMedia:
        joined = _Joined(self._segments[number:end], self._opener, self._keys)
        file = SequentialFile(joined)
        with contextlib.ExitStack() as stack:
            stack.callback(file.close)
            container = sniff(file.head())
            if container not in {"mpegts", "mp4"}:
                raise SourceError("wrong type: the playlist's segments are neither MPEG-TS nor fragmented mp4")
            media = FileMedia(file, container, part=True)
            stack.pop_all()
        return media

    def _base(self, run: int) -> int:
        return self._bases.get(run, self._segments[self._firsts[run]].start)

    def _time(self, segment: Segment) -> int:
        """Give when a segment begins, as far as is known."""
        return self._base(segment.run) + segment.start - self._segments[self._firsts[segment.run]].start

    def _index(self, at: int) -> int:
        return max(bisect_right(self._segments, at, key=self._time) - 1, 0)
