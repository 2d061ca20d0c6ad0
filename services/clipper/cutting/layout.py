"""Reading back a written clip's structure: what its moov says about its tracks (ISO/IEC 14496-12, 8.2 to 8.7)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from shared.media.model import Int64s
from shared.media.mp4.boxes import Box, Mp4Error, children, find, need, read_header
from shared.media.seams.errors import ClipFaulty

_LONGEST_MOOV = 1 << 29


@dataclass(frozen=True, eq=False)
class TrackLayout:
    """A track as a player reads it; `shown` are presentation ticks in decode order, 0 where the edit list begins."""

    kind: str
    timescale: int
    entries: int
    steps: Int64s
    shown: Int64s
    media_bytes: int
    duration: Fraction


def read_layout(path: Path) -> list[TrackLayout]:
    """Read the tracks of a progressive MP4; ClipFaulty unless moov comes first and all media lies in the file."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            moov, media = _top(file.fileno(), size)
        root = read_header(moov, 0, len(moov))
        scale = struct.unpack_from(">I", moov, _times(moov, need(moov, root, b"mvhd")))[0]
        tracks = [b for b in children(moov, root.body, root.end) if b.kind == b"trak"]
        layouts = [_track(moov, trak, scale, media) for trak in tracks]
    except (Mp4Error, struct.error, ValueError) as error:
        raise ClipFaulty(f"structure: {error}") from error
    if sum(layout.media_bytes for layout in layouts) != media[1] - media[0]:
        raise ClipFaulty("media bytes and sample sizes differ")
    return layouts


def _top(descriptor: int, size: int) -> tuple[bytes, tuple[int, int]]:
    """Return the moov box and the offsets of the media; any box other than ftyp, moov, mdat is refused."""
    at, moov, order = 0, b"", []
    media = (0, 0)
    while at < size:
        found = read_header(os.pread(descriptor, 16, at).ljust(16, b"\0"), 0, size - at)
        order.append(found.kind)
        if found.kind == b"moov" and found.end <= _LONGEST_MOOV:
            moov = os.pread(descriptor, found.end, at)
        elif found.kind == b"mdat":
            media = (at + found.body, at + found.end)
        at += found.end
    if order != [b"ftyp", b"moov", b"mdat"] or not moov:
        raise ClipFaulty(f"boxes are {b' '.join(order).decode('latin-1')}, not ftyp moov mdat")
    return moov, media


def _times(data: bytes, header: Box) -> int:
    """Return the offset of the timescale in mvhd or mdhd: after two times of 8 or 4 bytes."""
    return header.body + (20 if data[header.body] == 1 else 12)


def _track(moov: bytes, trak: Box, scale: int, media: tuple[int, int]) -> TrackLayout:
    mdia = need(moov, trak, b"mdia")
    timescale = struct.unpack_from(">I", moov, _times(moov, need(moov, mdia, b"mdhd")))[0]
    handler = need(moov, mdia, b"hdlr")
    table = need(moov, mdia, b"minf", b"stbl")
    entries = struct.unpack_from(">I", moov, need(moov, table, b"stsd").body + 4)[0]
    sizes = _sizes(moov, need(moov, table, b"stsz"))
    steps = _runs(moov, need(moov, table, b"stts"))
    if len(steps) != len(sizes):
        raise ClipFaulty(f"{len(steps)} sample times for {len(sizes)} samples")
    offsets = _offsets(moov, table)
    if len(offsets) and (offsets.min() < media[0] or offsets.max() >= media[1]):
        raise ClipFaulty("a chunk lies outside the media")
    shown = np.cumsum(steps) - steps
    ctts = find(moov, table, b"ctts")
    if ctts is not None:
        shown = shown + _runs(moov, ctts)
    begin, duration = _edit(moov, trak, int(steps.sum()), Fraction(scale, timescale))
    return TrackLayout(
        moov[handler.body + 8 : handler.body + 12].decode("latin-1"),
        timescale,
        entries,
        steps,
        shown - begin,
        int(sizes.sum()),
        Fraction(duration, scale),
    )


def _edit(moov: bytes, trak: Box, media: int, ratio: Fraction) -> tuple[int, int]:
    """Read the edit list: the media time at which it begins, less any empty edit, and its duration (movie ticks)."""
    elst = find(moov, trak, b"edts", b"elst")
    if elst is None:
        return 0, int(media * ratio)
    wide = moov[elst.body] == 1
    count = struct.unpack_from(">I", moov, elst.body + 4)[0]
    rows = [
        struct.unpack_from(">QqI" if wide else ">IiI", moov, elst.body + 8 + n * (20 if wide else 12))
        for n in range(count)
    ]
    empty = sum(length for length, media_time, _ in rows if media_time < 0)
    shown = [media_time for _, media_time, _ in rows if media_time >= 0]
    if len(shown) != 1:
        raise ClipFaulty("edit list shows more than one stretch")
    return shown[0] - round(empty / ratio), sum(length for length, _, _ in rows)


def _runs(moov: bytes, table: Box) -> Int64s:
    count = struct.unpack_from(">I", moov, table.body + 4)[0]
    rows = np.frombuffer(moov, ">u4", 2 * count, table.body + 8).reshape(-1, 2).astype(np.int64)
    if int(rows[:, 0].sum()) > _LONGEST_MOOV:
        raise ClipFaulty("sample table claims too many samples")
    return np.repeat(rows[:, 1], rows[:, 0])


def _sizes(moov: bytes, stsz: Box) -> Int64s:
    same, count = struct.unpack_from(">II", moov, stsz.body + 4)
    if same:
        return np.full(min(count, _LONGEST_MOOV), same, np.int64)
    return np.frombuffer(moov, ">u4", count, stsz.body + 12).astype(np.int64)


def _offsets(moov: bytes, table: Box) -> Int64s:
    found = find(moov, table, b"co64")
    kind = ">u8" if found else ">u4"
    found = found or need(moov, table, b"stco")
    count = struct.unpack_from(">I", moov, found.body + 4)[0]
    return np.frombuffer(moov, kind, count, found.body + 8).astype(np.int64)
