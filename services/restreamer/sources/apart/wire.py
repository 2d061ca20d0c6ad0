"""What we and a child of strangers' files say to each other. What a child says is read as what a stranger says.

One message is a head and what it announces; each side answers the other's, so that never two are on their way. All
sizes are bounded, times are flicks, texts are UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, get_args

from services.restreamer.model import Kind, Track
from services.restreamer.sources.apart.nonsense import Nonsense, are_times
from services.restreamer.sources.apart.track_wire import pack_track, unpack_track
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.frames import Raw

MOST_FRAMES: Final = 128
BATCH: Final = 1 << 18
"""How many bytes of frames are sent together; the last one may go beyond."""
LARGEST: Final = 64 << 20
"""A coded frame, or a picture's pixels."""
MOST_BODY: Final = LARGEST + BATCH + (2 << 20)
LONGEST_TEXT: Final = 200
LONGEST: Final = 1 << 50
"""Of a frame: 18 days."""
CONTAINERS: Final[tuple[Container, ...]] = get_args(Container)

ORDER: Final = struct.Struct("<BBqI")
"""Ours: what, flags, a number, and how many bytes follow."""
HEAD: Final = struct.Struct("<BBqHIIB4q")
"""Theirs: what, flags, a number; how many frames, bytes of tracks and other bytes follow; what is told of the file."""
_ROW: Final = struct.Struct("<BqqqI")  # flags, decode time, time, duration, bytes
_VIDEO, _KEY, _DTS, _TRACKED = 1, 2, 4, 8


class Order(IntEnum):
    """What we say."""

    OPEN = 1
    COVER = 2
    SEEK = 3
    FRAMES = 4
    MORE = 5
    DATA = 6
    POSITION = 7
    CLOSE = 8
    PICTURE = 9
    BEGIN = 10
    PUSH = 11
    FINISH = 12


BROKEN: Final = 1
"""The file has broken off: with DATA and POSITION."""
TORN: Final = 2
"""It has done so in the middle of something."""
HALT: Final = 4
"""No more frames are wanted."""
SEEKABLE: Final = 8
"""With OPEN: it can be read anywhere."""


class Said(IntEnum):
    """What a child says."""

    DONE = 1
    """An order is carried out; with a number and bytes where it asked for some."""
    READ = 2
    """So many bytes of the file are needed; the frames come first."""
    JUMP = 3
    """Reading is to go on elsewhere."""
    GIVEN = 4
    """Here are frames, and there are more."""
    ENDED = 5
    """Here are frames, and there are no more, or they are not wanted."""
    FAILED = 6
    """Here are frames, and what follows cannot be had, as the text says."""


LASTING: Final = 1
"""With FAILED: another try is vain."""
YOURS: Final = 2
"""With FAILED: it is what the file broke off with."""
COVERED: Final = 4
"""With DONE: there is a picture that comes with sound alone."""
OVER: Final = 8
"""With ENDED: work needs no more."""
FATE: Final = struct.Struct("<i")
"""How a child ended, as waitpid tells it; or NOT_FORKED."""
NOT_FORKED: Final = -1


@dataclass(frozen=True, slots=True)
class Told:
    """What an opened container tells of itself, as a Demuxer has it."""

    has_video: bool = False
    has_audio: bool = False
    end: int | None = None
    shown_from: int | None = None
    video_end: int | None = None
    created_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What a child said."""

    said: Said
    flags: int
    number: int
    frames: list[Raw]
    data: bytes
    told: Told

    @property
    def text(self) -> str:
        """Return what it said in words, as far as that can be shown."""
        words = self.data[: 4 * LONGEST_TEXT].decode("utf-8", "replace")
        return "".join(c for c in words if c.isprintable())[:LONGEST_TEXT]


class Batch:
    """Frames to be sent together."""

    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.rows = bytearray()
        self.tracks = bytearray()
        self.pieces: list[bytes] = []

    @property
    def full(self) -> bool:
        """Tell whether it is to be sent."""
        return self.bytes >= BATCH or self.count >= MOST_FRAMES

    def add(self, raw: Raw) -> None:
        """Add a frame; Nonsense where its times or its size cannot be."""
        flags = (raw.kind == "video") * _VIDEO | raw.key * _KEY
        flags |= (raw.dts is not None) * _DTS | (raw.track is not None) * _TRACKED
        if len(raw.data) > LARGEST:
            raise Nonsense(f"a frame of it has more than {LARGEST >> 20} MiB")
        if not are_times(raw.dts or 0, raw.pts):
            raise Nonsense("its times make no sense")
        try:
            self.rows += _ROW.pack(flags, raw.dts or 0, raw.pts, min(max(raw.duration, 0), LONGEST), len(raw.data))
        except struct.error:
            raise Nonsense("its times make no sense") from None
        if raw.track is not None:
            self.tracks += pack_track(raw.track)
        self.count += 1
        self.bytes += len(raw.data)
        self.pieces.append(raw.data)


def pack(
    said: Said, told: Told, batch: Batch, *, flags: int = 0, number: int = 0, data: bytes = b""
) -> list[bytes | bytearray]:
    """Put a child's message into pieces that follow each other."""
    given = (told.end, told.shown_from, told.video_end, told.created_ms)
    times = [time if time is not None and are_times(time) else None for time in given]
    known = told.has_video | told.has_audio << 1 | sum((time is not None) << 2 + n for n, time in enumerate(times))
    head = HEAD.pack(
        said, flags, number, batch.count, len(batch.tracks), batch.bytes + len(data), known,
        *(time or 0 for time in times),
    )  # fmt: skip
    return [head, batch.rows, batch.tracks, *batch.pieces, data]


def body_size(head: bytes | bytearray | memoryview) -> int:
    """Tell how many bytes follow a child's head; Nonsense."""
    _, _, _, count, tracks, data, *_ = HEAD.unpack_from(head)
    size = int(count * _ROW.size + tracks + data)
    if count > MOST_FRAMES or size > MOST_BODY:
        raise Nonsense("a message is too large")
    return size


def unpack(message: memoryview) -> Message:
    """Read a child's message; Nonsense."""
    what, flags, number, count, tracks, size, known, *times = HEAD.unpack_from(message)
    rows_end = HEAD.size + count * _ROW.size
    begin = rows_end + tracks
    try:
        said = Said(what)
        frames = list(_frames(message[HEAD.size : rows_end], bytes(message[rows_end:begin]), message[begin:]))
    except (ValueError, struct.error) as error:
        raise Nonsense("a message cannot be read") from error
    held = sum(len(frame.data) for frame in frames)
    data = bytes(message[begin + held : begin + size])
    if frames and data and said is not Said.FAILED:
        raise Nonsense("a message has more than it says")
    if not are_times(*times):
        raise Nonsense("what it tells of its times makes no sense")
    end, shown_from, video_end, created_ms = (time if known >> 2 + n & 1 else None for n, time in enumerate(times))
    told = Told(bool(known & 1), bool(known & 2), end, shown_from, video_end, created_ms)
    return Message(said, flags, number, frames, data, told)


def _frames(rows: memoryview, tracks: bytes, data: memoryview) -> Iterator[Raw]:
    at, track_at = 0, 0
    for flags, dts, pts, duration, size in _ROW.iter_unpack(rows):
        if size > len(data) - at or size > LARGEST:
            raise Nonsense("a frame has more than there is")
        if not 0 <= duration <= LONGEST or not are_times(dts, pts):
            raise Nonsense("a frame's times make no sense")
        track: Track | None = None
        kind: Kind = "video" if flags & _VIDEO else "audio"
        if flags & _TRACKED:
            track, track_at = unpack_track(tracks, track_at)
            if track.kind != kind:
                raise Nonsense("a frame is not of its track's kind")
        yield Raw(
            kind, dts if flags & _DTS else None, pts, duration, bool(flags & _KEY), bytes(data[at : at + size]), track
        )
        at += size
    if track_at != len(tracks):
        raise Nonsense("there are more tracks than frames")
