"""Boxes of ISO/IEC 14496-12: building them, and walking them safely in bytes that may be garbage."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from shared.errors import MediaError

Buffer = bytes | memoryview

# Largest header box: a moov of two days' samples has about 200 MB, our moofs have a few KB.
MAX_HEADER_BOX = 1 << 29


class Mp4Error(MediaError):
    """The bytes are not valid MP4."""


class Box(NamedTuple):
    """A box's offsets in a buffer: its header is at `start`, its content from `body` to `end`."""

    kind: bytes
    start: int
    body: int
    end: int


def box(kind: bytes, *parts: bytes) -> bytes:
    """Build a box of `kind` (four bytes) from its content; 64-bit size when it needs one."""
    content = b"".join(parts)
    if len(content) + 8 > 0xFFFFFFFF:
        return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content
    return struct.pack(">I4s", len(content) + 8, kind) + content


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """Build a full box: a box whose content begins with a version and 24 bits of flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def read_header(data: Buffer, at: int, limit: int) -> Box:
    """Read the box header at `at`; its box must end at or before `limit`, or Mp4Error is raised."""
    if limit - at < 8 or at + 8 > len(data):
        raise Mp4Error(f"box header cut short at byte {at}")
    size, kind = struct.unpack_from(">I4s", data, at)
    body = at + 8
    if size == 1:
        if limit - at < 16 or at + 16 > len(data):
            raise Mp4Error(f"box header cut short at byte {at}")
        size = struct.unpack_from(">Q", data, body)[0]
        body += 8
    elif size == 0:
        size = limit - at
    if size < body - at or size > limit - at:
        raise Mp4Error(f"box {kind!r} at byte {at} claims {size} bytes, {limit - at} are there")
    return Box(kind, at, body, at + size)


def children(data: Buffer, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes that lie one after the other in `data[start:end]`; Mp4Error on garbage."""
    limit = len(data) if end is None else min(end, len(data))
    while start < limit:
        found = read_header(data, start, limit)
        yield found
        start = found.end


def find(data: Buffer, within: Box | None, *path: bytes) -> Box | None:
    """Find the first box along `path`, from the top or from inside `within`; None when there is none."""
    found = within
    for kind in path:
        start, end = (0, len(data)) if found is None else (found.body, found.end)
        found = next((b for b in children(data, start, end) if b.kind == kind), None)
        if found is None:
            return None
    return found


def need(data: Buffer, within: Box | None, *path: bytes) -> Box:
    """Find as `find` does, or raise Mp4Error."""
    found = find(data, within, *path)
    if found is None:
        raise Mp4Error(f"no {b'/'.join(path).decode('latin-1')} box")
    return found


def unpack(layout: str, data: Buffer, at: int, limit: int) -> tuple[int, ...]:
    """Unpack big-endian fields that must end at or before `limit`, or raise Mp4Error."""
    size = struct.calcsize(">" + layout)
    if at < 0 or at + size > min(limit, len(data)):
        raise Mp4Error(f"field cut short at byte {at}")
    return struct.unpack_from(">" + layout, data, at)
