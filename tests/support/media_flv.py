"""Splits FLV files into tags and joins changed ones."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

AUDIO, VIDEO, SCRIPT = 8, 9, 18


class Tag(NamedTuple):
    """A tag: its kind, time in ms, and body."""

    kind: int
    time: int
    body: bytes

    @property
    def is_config(self) -> bool:
        """Return whether it is a sequence header (or metadata)."""
        if self.kind == SCRIPT:
            return True
        if self.kind == AUDIO:
            return self.body[1] == 0 if self.body[0] >> 4 == 10 else self.body[0] & 15 == 0
        return self.body[0] & 15 == 0 if self.body[0] & 0x80 else self.body[1] == 0

    @property
    def is_key(self) -> bool:
        """Return whether it is a video keyframe."""
        return self.kind == VIDEO and not self.is_config and self.body[0] >> 4 & 7 == 1


def split(data: bytes) -> list[Tag]:
    """Return the tags of a file."""
    tags, at = [], 13
    while at < len(data):
        word, stamp = struct.unpack_from(">II", data, at)
        size = word & 0xFFFFFF
        tags.append(Tag(word >> 24, stamp >> 8 | (stamp & 0xFF) << 24, data[at + 11 : at + 11 + size]))
        at += size + 15
    return tags


def header(flags: int = 5) -> bytes:
    """Return a file header; flags 4 audio, 1 video."""
    return b"FLV\1" + bytes((flags, 0, 0, 0, 9, 0, 0, 0, 0))


def encode(tag: Tag) -> bytes:
    """Return a tag's bytes."""
    time = tag.time % (1 << 32)
    head = struct.pack(">IIxxx", tag.kind << 24 | len(tag.body), (time & 0xFFFFFF) << 8 | time >> 24)
    return head + tag.body + struct.pack(">I", len(tag.body) + 11)


def join(tags: Iterable[Tag], flags: int = 5) -> bytes:
    """Return a file of some tags."""
    return header(flags) + b"".join(map(encode, tags))


def moved(tags: Iterable[Tag], ms: int) -> list[Tag]:
    """Move tags in time."""
    return [tag._replace(time=tag.time + ms) for tag in tags]
