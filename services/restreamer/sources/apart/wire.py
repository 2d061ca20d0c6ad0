"""The protocol between this process and a child. A child's messages are untrusted input.

A message is a head and the data that it announces; each side waits for the other's answer, so that only one message is
in transit. All sizes are bounded, times are flicks, texts are UTF-8.
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
"""How many bytes of frames are sent together; the last frame may exceed this."""
LARGEST: Final = 64 << 20
"""The largest coded frame, or picture's pixels, in bytes."""
MOST_BODY: Final = LARGEST + BATCH + (2 << 20)
LONGEST_CONFIG: Final = 1 << 18
LONGEST_TEXT: Final = 200
LONGEST_NAME: Final = 1000  # a layout can name every speaker
LARGEST_SIDE: Final = 1 << 16
FARTHEST: Final = 3 << 59
"""The largest time in flicks: 77 years, so that sums of a few times fit into 64 bits."""
LONGEST: Final = 1 << 50
"""The longest duration of a frame in flicks: 18 days."""
FASTEST_SAMPLES: Final = 1 << 22
_FIXED_RATES: Final = {"aac": 96_000, "mp3": 48_000, "opus": 48_000}
"""The highest sample rates of codecs whose packets are passed through, between packets of silence."""
CONTAINERS: Final[tuple[Container, ...]] = get_args(Container)

ORDER: Final = struct.Struct("<BBqI")
"""An order's head: order, flags, a number, and how many bytes follow."""
HEAD: Final = struct.Struct("<BBqHIIB4q")
"""A child's head: kind, flags, a number; how many frames, track bytes and other bytes follow; what is known (Told)."""
_ROW: Final = struct.Struct("<BqqqI")  # flags, decode time, time, duration, bytes
_TRACK: Final = struct.Struct("<BIIqqIIIIII4iiHI")
_VIDEO, _KEY, _DTS, _TRACKED = 1, 2, 4, 8


class Nonsense(ReelayError):  # noqa: N818  it names an event
    """A child sent an invalid message."""


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
    """Return a child's message as consecutive pieces."""
    given = (told.end, told.shown_from, told.video_end, told.created_ms)
    times = [time if time is not None and _are_times(time) else None for time in given]
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
    """Return a track as bytes; raise Nonsense when it cannot be sent."""
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
    """Return the track at offset `at`, and its end. Raise Nonsense, ValueError or struct.error."""
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
    """Return whether a track's sample rate is possible for its codec; silence is made at this rate."""
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
