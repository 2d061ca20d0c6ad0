"""Sound whose frames say themselves where they end and how they decode: MPEG audio, AC-3 and E-AC-3.

Which of the codecs it is, the frames alone say: tables call layers II and III of MPEG audio the same, and AC-3 and
E-AC-3 are found under each other's stream types. Packets of a container may begin and end anywhere in frames; a
packet's time stamp is that of the first frame that begins in it (ISO/IEC 13818-1, 2.4.3.7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Final, Literal, NamedTuple

from services.ingester.publication import VIDEO_SCALE, Frame
from shared.media.bitstream import ac3
from shared.media.bitstream.ac3 import Ac3Frame, read_ac3
from shared.media.bitstream.mpeg_audio import HEADER, read_mpeg_audio
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import ac3_config, mpeg_config
from shared.media.tracks import TrackConfig

Family = Literal["mpeg", "ac3"]
MAX_REST: Final = 1 << 16
MAX_STAMPS: Final = 64
_SYNC: Final = {"mpeg": re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xef]"), "ac3": re.compile(re.escape(ac3.SYNC))}
MOST_JUNK, LOOKED_AT = 256 << 10, 4096
"""After so many bytes without a frame, only the first ones of each packet are looked at."""
_TAIL: Final = 2  # bytes at an end that may begin what is looked for
_SMALLEST: Final = 24
MOST_FRAMES: Final = 96
"""Of an access unit of E-AC-3: six of each of sixteen substreams."""


class Found(NamedTuple):
    """An access unit: its bytes, of which the first `kept` are stored, and its samples; equal keys decode alike."""

    size: int
    kept: int
    samples: int
    rate: int
    key: Hashable
    describe: Callable[[], TrackConfig]


Look = Callable[[bytes, int, bool], Found | None]
"""Returns the access unit at an offset: None when none begins there; size 0 when more bytes are needed to know.

With the last argument, no more bytes will come that belong to what has begun.
"""


def _nothing() -> TrackConfig:
    raise Mp4Error("no frame to describe")


_MORE: Final = Found(0, 0, 0, 1, None, _nothing)


class FramedSound:
    """Turns the bytes of one track, with their time stamps (90 kHz), into frames; `damaged` counts what was dropped."""

    def __init__(self, family: Family) -> None:
        self.damaged = 0
        self._look: Look = _mpeg if family == "mpeg" else _ac3
        self._sync = _SYNC[family]
        self._data = b""
        self._stamps: list[tuple[int, int]] = []  # where packets begin in the data, and their time stamps
        self._next: float | None = None  # when the next frame begins, if nothing else says so
        self._key: Hashable = None
        self._config: TrackConfig | None = None
        self._synced = self._whole = False
        self._junk = 0  # bytes since the last frame

    def feed(self, data: bytes, stamp: int | None, *, whole: bool = False) -> list[Frame]:
        """Take a packet; return the frames that end in it. `whole`: no frame goes on in the next packet."""
        if stamp is not None:
            self._stamps = [*self._stamps[-MAX_STAMPS:], (len(self._data), stamp)]
        self._data = self._data + data if self._data else data
        self._whole = whole
        frames = self._frames(last=whole)
        if whole and self._data:
            self.lost()
            self.damaged += 1
        return frames

    def finish(self) -> list[Frame]:
        """Return the frame that waited to be sure of its end."""
        return self._frames(last=True)

    def lost(self) -> None:
        """Drop a partial frame after lost bytes; the next time stamp tells how much is missing."""
        self._data, self._stamps, self._next, self._synced = b"", [], None, False

    def _frames(self, *, last: bool) -> list[Frame]:
        frames: list[Frame] = []
        data, at, end = self._data, 0, len(self._data)
        while end - at >= (1 if last else _SMALLEST):
            found = self._confirmed(data, at, last=last)
            if found is None:
                self.damaged += self._synced  # once per stretch of bytes that are no frame
                self._synced = False
                begin = self._sync.search(data, at + 1)
                after = begin.start() if begin else end if last else max(at + 1, end - _TAIL)
                self._junk += after - at
                at = after if self._junk < MOST_JUNK or after < LOOKED_AT else end
                continue
            if not found.size:
                break
            self._junk = 0
            if (frame := self._frame(found, data[at : at + found.kept], at)) is not None:
                frames.append(frame)
            at += found.size
        self._cut(at if end - at <= MAX_REST else end)
        return frames

    def _confirmed(self, data: bytes, at: int, *, last: bool) -> Found | None:
        """Look for a unit. One that does not follow another of its kind counts only if one follows it.

        Where no more bytes will come, it must be of the kind known so far, or the first one in a packet.
        """
        found = self._look(data, at, last)
        if not found or not found.size or (self._synced and found.key == self._key):
            return found
        if last:
            return found if found.key == self._key or (not at and self._whole) else None
        after = at + found.size
        if after + _SMALLEST > len(data):
            return _MORE
        return found if self._look(data, after, False) is not None else None

    def _frame(self, found: Found, payload: bytes, at: int) -> Frame | None:
        stamp: float | None = None
        while self._stamps and self._stamps[0][0] <= at:
            stamp = self._stamps.pop(0)[1]
        self._synced = True
        time = self._next if stamp is None else stamp
        if time is None:
            self.damaged += 1
            return None
        if self._config is None or found.key != self._key:
            config = found.describe()
            self._config = config if config != self._config else self._config
            self._key = found.key
        self._next = time + found.samples * VIDEO_SCALE / found.rate
        return Frame(self._config, round(time), 0, True, payload, found.samples)

    def _cut(self, at: int) -> None:
        """Forget the first bytes; a time stamp of a packet that began there is that of what comes next."""
        self._data = self._data[at:]
        self._stamps = [(max(begin - at, 0), stamp) for begin, stamp in self._stamps]


def _mpeg(data: bytes, at: int, last: bool) -> Found | None:
    if len(data) - at < HEADER:
        return None if last else _MORE
    frame = read_mpeg_audio(data, at)
    if frame is None:
        return None
    if at + frame.size > len(data):
        return None if last else _MORE
    key = frame.codec, frame.rate, frame.channels
    return Found(frame.size, frame.size, frame.samples, frame.rate, key, lambda: mpeg_config(frame))


def _ac3(data: bytes, at: int, last: bool) -> Found | None:
    """Find an access unit: an AC-3 frame, or 1536 samples of E-AC-3 with all substreams (ETSI TS 102 366, F.5).

    E-AC-3 frames that extend an AC-3 frame are left out: MP4 has no form for both together.
    """
    frames: list[Ac3Frame] = []
    samples, begin = 0, at
    while True:
        short = len(data) - at < _SMALLEST
        frame = None if short else read_ac3(data, at)
        if short or (frame is not None and at + frame.size > len(data)):
            if not last:
                return _MORE
            break
        if frame is None or (frame.begins and samples >= ac3.ACCESS_UNIT) or not _belongs(frame, frames):
            break
        samples += frame.samples if frame.begins else 0
        frames.append(frame)
        at += frame.size
        if len(frames) > MOST_FRAMES:
            return None  # whatever it is, it is no sound
    return _unit(frames, begin, at, samples) if frames else None


def _belongs(frame: Ac3Frame, frames: list[Ac3Frame]) -> bool:
    if not frames:
        return frame.begins
    return frame.codec == "eac3" and (frame.codec == frames[0].codec or not frame.begins)


def _unit(frames: list[Ac3Frame], begin: int, end: int, samples: int) -> Found:
    first = frames[0]
    own = frames if first.codec == "eac3" else frames[:1]
    described = _substreams(own)
    key = tuple((f.codec, f.fscod, f.bsid, f.acmod, f.lfe, f.kind, f.substream, f.extra, f.rate) for f in described)
    kept = end - begin if first.codec == "eac3" else first.size
    return Found(end - begin, kept, samples, first.rate, key, lambda: ac3_config(described))


def _substreams(frames: list[Ac3Frame]) -> list[Ac3Frame]:
    """Return the first frame of each substream: short frames repeat them within an access unit."""
    found: dict[tuple[int, bool, int], Ac3Frame] = {}
    programme = 0
    for frame in frames:
        dependent = frame.kind == ac3.DEPENDENT
        programme = programme if dependent else frame.substream
        found.setdefault((programme, dependent, frame.substream), frame)
    return [found[key] for key in sorted(found)]
