"""FLV, the format of RTMP's media messages in files and in aggregate messages, classic and enhanced.

Formats: Adobe, "Video File Format 10.1", annex E (file header, tags, audio and video headers); Veovera, "Enhanced
RTMP v2" (ExVideoTagHeader, ExAudioTagHeader).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

AUDIO_FLAG, VIDEO_FLAG = 4, 1
AUDIO, VIDEO, SCRIPT = 8, 9, 18
KINDS: Final = frozenset({AUDIO, VIDEO, SCRIPT})
HEADER, TRAILER = 11, 4
"""Sizes of a tag's header, and of the trailer after its body, which repeats the tag's size."""
STREAM: Final = b"\0\0\0"
"""The stream id at the end of every header."""

# The first byte of a video body: frame type and codec (E.4.3.1), or EX_HEADER, frame type and packet type.
EX_HEADER = 0x80
KEY_FRAME, INTER_FRAME, COMMAND_FRAME = 1, 2, 5
AVC, HEVC = 7, 12  # the latter is unofficial
# The first byte of an audio body: sound format (E.4.2.1) with rate, size and channels, or EX_AUDIO and packet type.
MP3, EX_AUDIO, AAC = 2, 9, 10
# Packet types: the first two also apply to AVC and AAC, in the second byte of their bodies.
SEQUENCE_START, CODED_FRAMES, SEQUENCE_END, CODED_FRAMES_X, METADATA, MULTITRACK, MOD_EX = 0, 1, 2, 3, 4, 5, 7
# How a multitrack message holds tracks: one, several of one codec, several of several codecs.
ONE_TRACK, MANY_TRACKS, MANY_CODECS = 0, 1, 2

_HEADER = struct.Struct(">II3s")
_TRAILER = struct.Struct(">I")


class TagHeader(NamedTuple):
    """A tag's header: its kind as in RTMP, the body's size, its timestamp in ms, and the stream id."""

    kind: int
    size: int
    timestamp: int
    stream: bytes

    @property
    def whole(self) -> int:
        """The size of the tag with header and trailer."""
        return HEADER + self.size + TRAILER


def read_header(data: bytes | bytearray | memoryview, at: int = 0) -> TagHeader:
    """Read a tag's header; struct.error when it is cut short."""
    first, time, stream = _HEADER.unpack_from(data, at)
    return TagHeader(first >> 24, first & 0xFFFFFF, time >> 8 | (time & 0xFF) << 24, stream)


def file_header(*, video: bool, audio: bool) -> bytes:
    """Return the file header; its flags announce the tracks, and a demuxer waits for all announced ones."""
    flags = VIDEO_FLAG * video | AUDIO_FLAG * audio
    return b"FLV\x01" + bytes((flags,)) + b"\x00\x00\x00\x09" + bytes(4)


def tag(kind: int, timestamp: int, body: bytes) -> bytes:
    """Return a complete tag; `timestamp` is in ms, modulo 2**32."""
    time = (timestamp & 0xFFFFFF) << 8 | timestamp >> 24
    return _HEADER.pack(kind << 24 | len(body), time, STREAM) + body + trailer(len(body))


def trailer(size: int) -> bytes:
    """Return the trailer that follows a body of `size` bytes."""
    return _TRAILER.pack(size + HEADER)


def is_enhanced(kind: int, first: int) -> bool:
    """Return whether a body with this first byte is in the enhanced format, with a FOURCC."""
    return bool(first & EX_HEADER) if kind == VIDEO else first >> 4 == EX_AUDIO


def is_sequence_header(kind: int, body: bytes | bytearray | memoryview) -> bool:
    """Return whether a body of two bytes or more is a sequence header, not a frame."""
    first = body[0]
    if is_enhanced(kind, first):
        return first & 0x0F == SEQUENCE_START
    has_type = first & 0x0F in (AVC, HEVC) if kind == VIDEO else first >> 4 == AAC
    return has_type and body[1] == SEQUENCE_START
