"""Writing FLV (Adobe, "Video File Format 10.1", annex E)."""

from __future__ import annotations

import struct

AUDIO_FLAG, VIDEO_FLAG = 4, 1
SCRIPT = 18

_TAG = struct.Struct(">II3x")
_SIZE = struct.Struct(">I")

back_pointer = _SIZE.pack
"""Writes what follows a tag: its size with header."""


def file_header(*, video: bool, audio: bool) -> bytes:
    """Write the file's header; its flags promise the tracks, and a demuxer waits for all that are promised."""
    flags = VIDEO_FLAG * video | AUDIO_FLAG * audio
    return b"FLV\x01" + bytes((flags,)) + b"\x00\x00\x00\x09" + bytes(4)


def tag_header(kind: int, timestamp: int, size: int) -> bytes:
    """Write a tag's header: `kind` as in RTMP (8, 9, 18), `timestamp` in ms modulo 2**32, `size` of its body."""
    return _TAG.pack(kind << 24 | size, (timestamp & 0xFFFFFF) << 8 | timestamp >> 24)


def tag(kind: int, timestamp: int, body: bytes) -> bytes:
    """Write a whole tag and its back pointer."""
    return tag_header(kind, timestamp, len(body)) + body + back_pointer(len(body) + 11)
