"""Where the samples of a progressive MP4 lie in its file, by its tables (ISO/IEC 14496-12, 8.7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.media.model import Int64s
from shared.media.mp4.boxes import Box, Mp4Error, find, need, unpack


@dataclass(frozen=True, slots=True)
class Places:
    """Offset, size and sample entry (from 0) of each sample of a track."""

    offset: Int64s
    size: Int64s
    entry: Int64s


def places_of(moov: bytes, table: Box) -> Places:
    """Read a track's tables in its stbl; Mp4Error when they make no sense."""
    size = _sizes(moov, need(moov, table, b"stsz"))
    offsets = chunk_offsets(moov, table)
    runs = _rows(moov, need(moov, table, b"stsc"), 3)
    first = np.append(runs[:, 0], len(offsets) + 1)
    lengths = np.diff(first)
    if np.any(lengths <= 0) or first[0] != 1:
        raise Mp4Error("chunks make no sense")
    count, entry = np.repeat(runs[:, 1], lengths), np.repeat(runs[:, 2], lengths)
    if int(count.sum()) != len(size):
        raise Mp4Error("chunks hold another number of samples")
    before = np.cumsum(size) - size
    starts = (np.cumsum(count) - count)[count > 0]
    restarted = before - np.repeat(before[starts], count[count > 0])
    return Places(np.repeat(offsets, count) + restarted, size, np.repeat(entry - 1, count))


def chunk_offsets(moov: bytes, table: Box) -> Int64s:
    """Return where the chunks of a track lie."""
    wide = find(moov, table, b"co64")
    found = wide or need(moov, table, b"stco")
    count = unpack("I", moov, found.body + 4, found.end)[0]
    if found.body + 8 + count * (8 if wide else 4) > found.end:
        raise Mp4Error("chunk offsets are cut short")
    return np.frombuffer(moov, ">u8" if wide else ">u4", count, found.body + 8).astype(np.int64)


def _rows(moov: bytes, table: Box, width: int) -> Int64s:
    count = unpack("I", moov, table.body + 4, table.end)[0]
    if not count or table.body + 8 + 4 * width * count > table.end:
        raise Mp4Error("a table is empty or cut short")
    return np.frombuffer(moov, ">u4", width * count, table.body + 8).reshape(-1, width).astype(np.int64)


def _sizes(moov: bytes, stsz: Box) -> Int64s:
    same, count = unpack("II", moov, stsz.body + 4, stsz.end)
    if same:
        return np.full(count, same, np.int64)
    if stsz.body + 12 + 4 * count > stsz.end:
        raise Mp4Error("sample sizes are cut short")
    return np.frombuffer(moov, ">u4", count, stsz.body + 12).astype(np.int64)
