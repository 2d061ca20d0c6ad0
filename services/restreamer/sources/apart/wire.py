"""The protocol between this process and a child. A child's messages are untrusted input.

A message is a head and the data that it announces; each side waits for the other's answer, so that only one message is
in transit. All sizes are bounded, times are flicks, texts are UTF-8.
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
"""How many bytes of frames are sent together; the last frame may exceed this."""
LARGEST: Final = 64 << 20
"""The largest coded frame, or picture's pixels, in bytes."""
MOST_BODY: Final = LARGEST + BATCH + (2 << 20)
LONGEST_TEXT: Final = 200
LONGEST: Final = 1 << 50
"""The longest duration of a frame in flicks: 18 days."""
CONTAINERS: Final[tuple[Container, ...]] = get_args(Container)

ORDER: Final = struct.Struct("<BBqI")
"""An order's head: order, flags, a number, and how many bytes follow."""
HEAD: Final = struct.Struct("<BBqHIIB4q")
"""A child's head: kind, flags, a number; how many frames, track bytes and other bytes follow; what is known (Told)."""
_ROW: Final = struct.Struct("<BqqqI")  # flags, decode time, time, duration, bytes
_VIDEO, _KEY, _DTS, _TRACKED = 1, 2, 4, 8


class Order(IntEnum):
    """The orders to a child."""

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
"""With DATA and POSITION: the file has broken off."""
TORN: Final = 2
"""With BROKEN: the break may have cut a frame."""
HALT: Final = 4
"""The child must send no more frames."""
SEEKABLE: Final = 8
"""With OPEN: the file is seekable."""


class Said(IntEnum):
    """The messages of a child. All but DONE may carry frames."""

    DONE = 1
    """An order is finished; with a number and bytes if the order asked for them."""
    READ = 2
    """The child needs so many bytes of the file."""
    JUMP = 3
    """The child seeks in the file."""
    GIVEN = 4
    """Frames; more follow."""
    ENDED = 5
    """The last frames; or the parent asked for a halt."""
    FAILED = 6
    """The last frames before an error, which the text describes."""


LASTING: Final = 1
"""With FAILED: another try cannot succeed."""
YOURS: Final = 2
"""With FAILED: the error is the one with which the parent's file broke off."""
COVERED: Final = 4
"""With DONE: the audio-only file has a cover picture."""
OVER: Final = 8
"""With ENDED: the work needs no more packets."""
FATE: Final = struct.Struct("<i")
"""A child's exit status from waitpid, or NOT_FORKED."""
NOT_FORKED: Final = -1


@dataclass(frozen=True, slots=True)
class Told:
    """The properties of an opened container, as those of a Demuxer."""

    has_video: bool = False
    has_audio: bool = False
    end: int | None = None
    shown_from: int | None = None
    video_end: int | None = None
    created_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A child's message."""

    said: Said
    flags: int
    number: int
    frames: list[Raw]
    data: bytes
    told: Told

    @property
    def text(self) -> str:
        """The message's text, without unprintable characters."""
        words = self.data[: 4 * LONGEST_TEXT].decode("utf-8", "replace")
        return "".join(c for c in words if c.isprintable())[:LONGEST_TEXT]


class Batch:
    """Frames that are sent together."""

    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.rows = bytearray()
        self.tracks = bytearray()
        self.pieces: list[bytes] = []

    @property
    def full(self) -> bool:
        """Whether the batch is full and must be sent."""
        return self.bytes >= BATCH or self.count >= MOST_FRAMES

    def add(self, raw: Raw) -> None:
        """Add a frame; raise Nonsense when its times or its size are impossible."""
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
    """Return a child's message as consecutive pieces."""
    given = (told.end, told.shown_from, told.video_end, told.created_ms)
    times = [time if time is not None and are_times(time) else None for time in given]
    known = told.has_video | told.has_audio << 1 | sum((time is not None) << 2 + n for n, time in enumerate(times))
    head = HEAD.pack(
        said, flags, number, batch.count, len(batch.tracks), batch.bytes + len(data), known,
        *(time or 0 for time in times),
    )  # fmt: skip
    return [head, batch.rows, batch.tracks, *batch.pieces, data]


def body_size(head: bytes | bytearray | memoryview) -> int:
    """Return how many bytes follow a child's head; raise Nonsense."""
    _, _, _, count, tracks, data, *_ = HEAD.unpack_from(head)
    size = int(count * _ROW.size + tracks + data)
    if count > MOST_FRAMES or size > MOST_BODY:
        raise Nonsense("a message is too large")
    return size


def unpack(message: memoryview) -> Message:
    """Return a child's message from its bytes; raise Nonsense."""
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
