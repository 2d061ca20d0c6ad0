"""What we and a child of strangers' files say to each other. What a child says is read as what a stranger says.

One message is a head and what it announces; each side answers the other's, so that never two are on their way. All
sizes are bounded, times are flicks, texts are UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Final, get_args

from services.restreamer.model import Kind, Track
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.frames import Raw
from shared.errors import ReelayError
from shared.media.mp4.aac import read_aac
from shared.media.mp4.boxes import Mp4Error
from shared.media.transcode.turns import TURNS, Turn

MOST_FRAMES: Final = 128
BATCH: Final = 1 << 18
"""How many bytes of frames are sent together; the last one may go beyond."""
LARGEST: Final = 64 << 20
"""A coded frame, or a picture's pixels."""
MOST_BODY: Final = LARGEST + BATCH + (2 << 20)
LONGEST_CONFIG: Final = 1 << 18
LONGEST_TEXT: Final = 200
LONGEST_NAME: Final = 1000  # a layout names each of its speakers
LARGEST_SIDE: Final = 1 << 16
FARTHEST: Final = 3 << 59
"""Flicks: 77 years, so that sums of a few times are within 64 bits."""
LONGEST: Final = 1 << 50
"""Of a frame: 18 days."""
FASTEST_SAMPLES: Final = 1 << 22
_FIXED_RATES: Final = {"aac": 96_000, "mp3": 48_000, "opus": 48_000}
"""The most samples a second of codecs whose packets are laid as they are, between silent ones."""
CONTAINERS: Final[tuple[Container, ...]] = get_args(Container)

ORDER: Final = struct.Struct("<BBqI")
"""Ours: what, flags, a number, and how many bytes follow."""
HEAD: Final = struct.Struct("<BBqHIIB4q")
"""Theirs: what, flags, a number; how many frames, bytes of tracks and other bytes follow; what is told of the file."""
_ROW: Final = struct.Struct("<BqqqI")  # flags, decode time, time, duration, bytes
_TRACK: Final = struct.Struct("<BIIqqIIIIII4iiHI")
_VIDEO, _KEY, _DTS, _TRACKED = 1, 2, 4, 8


class Nonsense(ReelayError):  # noqa: N818  it names what happened
    """A child said what no child of ours says."""


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
        if not _are_times(raw.dts or 0, raw.pts):
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
    times = [time if time is not None and _are_times(time) else None for time in given]
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
    if not _are_times(*times):
        raise Nonsense("what it tells of its times makes no sense")
    end, shown_from, video_end, created_ms = (time if known >> 2 + n & 1 else None for n, time in enumerate(times))
    told = Told(bool(known & 1), bool(known & 2), end, shown_from, video_end, created_ms)
    return Message(said, flags, number, frames, data, told)


def _frames(rows: memoryview, tracks: bytes, data: memoryview) -> Iterator[Raw]:
    at, track_at = 0, 0
    for flags, dts, pts, duration, size in _ROW.iter_unpack(rows):
        if size > len(data) - at or size > LARGEST:
            raise Nonsense("a frame has more than there is")
        if not 0 <= duration <= LONGEST or not _are_times(dts, pts):
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


_TEXTS: Final = ("codec", "pixels", "turn", "tag", "layout")


def pack_track(track: Track) -> bytes:
    """Put a track into bytes; Nonsense where it has what cannot be sent."""
    texts = "\0".join(str(getattr(track, name)) for name in _TEXTS).encode()
    rate = track.rate or Fraction(0)
    try:
        head = _TRACK.pack(
            track.kind == "video", track.width, track.height, rate.numerator, rate.denominator,
            track.sample_rate, track.channels,
            track.aspect.numerator, track.aspect.denominator, track.own_aspect.numerator, track.own_aspect.denominator,
            *track.colours, track.bits, len(texts), len(track.config),
        )  # fmt: skip
    except struct.error:
        raise Nonsense("what it says of a track makes no sense") from None
    if len(track.config) > LONGEST_CONFIG:
        raise Nonsense("a track's configuration is too large")
    return head + texts + track.config


def unpack_track(data: bytes, at: int) -> tuple[Track, int]:
    """Read a track that begins at a byte, and where it ends. Nonsense, ValueError, struct.error."""
    is_video, width, height, over, under, rate, channels, *more = _TRACK.unpack_from(data, at)
    shown, own, colours = more[0:2], more[2:4], more[4:8]
    bits, texts_size, config_size = more[8:]
    begin = at + _TRACK.size
    end = begin + texts_size + config_size
    if end > len(data) or config_size > LONGEST_CONFIG or not (under > 0 and over >= 0 and shown[1] and own[1]):
        raise Nonsense("a track cannot be read")
    texts = data[begin : begin + texts_size].decode().split("\0")
    if len(texts) != len(_TEXTS) or not all(_fits(text) for text in texts):
        raise Nonsense("a track's names cannot be")
    codec, pixels, turn, tag, layout = texts
    if not codec or max(width, height) > LARGEST_SIDE or min(colours) < 0:
        raise Nonsense("a track's size cannot be")
    track = Track(
        "video" if is_video else "audio", codec, data[begin + texts_size : end], width, height, pixels,
        Fraction(over, under) if over else None, rate, channels,
        _ratio(shown), _ratio(own), _turn(turn), (colours[0], colours[1], colours[2], colours[3]), tag, bits, layout,
    )  # fmt: skip
    if not _is_heard(track):
        raise Nonsense("a track's sound cannot be")
    return track, end


def _is_heard(track: Track) -> bool:
    """Tell whether a track's samples are as many a second as its codec may have, of which silence is made."""
    if track.codec == "aac" and track.config:
        try:
            return read_aac(track.config).rate == track.sample_rate
        except Mp4Error:
            return False
    return track.sample_rate <= _FIXED_RATES.get(track.codec, FASTEST_SAMPLES)


def _are_times(*times: int) -> bool:
    return min(times) >= -FARTHEST and max(times) <= FARTHEST


def _fits(text: str) -> bool:
    return len(text) <= LONGEST_NAME and text.isprintable()


def _ratio(pair: Sequence[int]) -> Fraction:
    if not pair[0]:
        raise Nonsense("an aspect is nothing")
    return Fraction(pair[0], pair[1])


def _turn(text: str) -> Turn:
    if text == "":
        return ""
    for turn in TURNS:
        if turn == text:
            return turn
    raise Nonsense("there is no such turn")
